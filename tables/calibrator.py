"""One partition of the calibrator: bins and labels of its streams, and the outcomes that wait.

The law: a settled calibrating outcome enters its bin once, or its label's counts where its action
stated no number, in the order (settle time, action time, action_id, conversation_id) over all
resolver tasks. An outcome waits here until every source has promised that nothing with an earlier
settle time will follow; without promises the order would be that of arrival. A step returns the
absolute sums and counts of what was touched and the changelog's rows.
"""

import heapq
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from agents_topics.events import BinSums, CalibrationUpdate, Outcome, Promise
from agents_topics.label_rates import LabelRate
from tables.calibration_bins import (
    SUM_NAMES,
    StreamBin,
    Sums,
    bin_index_of,
    millionths_of,
    y_of,
)
from tables.label_rates import LabelKey, count, empty_rate, entered, label_key, told
from tables.stream import Stream
from tables.stream_times import NEVER_MS

ENTERED_PER_STEP_MAX = 50_000
"""A promise may release any number of outcomes; a transaction must stay below its time-out."""


class Waiting(NamedTuple):
    """A settled outcome in the order of entry; with a label in the place of a number, or without.

    A row that an earlier release wrote has no label.
    """

    settled_at_ms: int
    created_at_ms: int
    action_id: str
    conversation_id: str
    id: str
    stream: Stream
    millionths: int | None
    status: str
    expired_counts: bool
    is_lead: bool
    label: str | None = None


BinKey = tuple[Stream, int]


@dataclass(slots=True)
class CalibratorStep:
    """What a step wants written: bins and labels that changed, changelog rows (None deletes)."""

    updates: list[tuple[str, CalibrationUpdate | LabelRate]] = field(default_factory=list)
    changes: dict[bytes, Any] = field(default_factory=dict)


class Calibrator:
    """The state of one partition; `source_count` resolver tasks feed it."""

    def __init__(self, source_count: int) -> None:
        self.promises: dict[int, int] = dict.fromkeys(range(source_count), NEVER_MS)
        self.bins: dict[BinKey, StreamBin] = {}
        self.labels: dict[LabelKey, LabelRate] = {}
        self._waiting: list[Waiting] = []
        self._new: dict[str, Waiting] = {}

    @property
    def promised_ms(self) -> int:
        """Every outcome with a settle time at or before this has come."""
        return min(self.promises.values())

    @property
    def is_entering(self) -> bool:
        """Whether an outcome's turn has come: the next step lets it enter."""
        return bool(self._waiting) and self._waiting[0].settled_at_ms <= self.promised_ms

    @property
    def waiting_count(self) -> int:
        """How many outcomes wait for their turn."""
        return len(self._waiting)

    @property
    def entered_count(self) -> int:
        """How many outcomes have entered, those that say nothing included."""
        bins = sum(held.all.n + held.all.excluded_n for held in self.bins.values())
        return bins + sum(entered(rate.all) for rate in self.labels.values())

    def on_promise(self, promise: Promise) -> None:
        """A source has written every outcome up to a settle time."""
        if promise.source not in self.promises:
            raise AssertionError(f"a promise of source {promise.source}: partitions were added")
        self.promises[promise.source] = max(self.promises[promise.source], promise.until_ms)

    def on_settled(self, outcome: Outcome) -> None:
        """A calibrating outcome has settled."""
        confidence = outcome.predicted_confidence
        waiting = Waiting(
            settled_at_ms=outcome.settled_at_ms,
            created_at_ms=outcome.created_at_ms,
            action_id=outcome.action_id,
            conversation_id=outcome.conversation_id,
            id=outcome.id,
            stream=Stream(
                outcome.tenant_id,
                outcome.action_type,
                outcome.outcome_type,
                outcome.window_expires_at_ms - outcome.created_at_ms,
                outcome.confidence_source,
            ),
            millionths=None if confidence is None else millionths_of(confidence),
            status=outcome.status,
            expired_counts=outcome.expired_counts,
            is_lead=bool(outcome.is_lead),
            label=outcome.confidence_label if confidence is None else None,
        )
        heapq.heappush(self._waiting, waiting)
        self._new[waiting.id] = waiting

    def finish(self) -> CalibratorStep:
        """Ends the step: outcomes whose turn has come enter, as many as one may hold."""
        step = CalibratorStep()
        touched: dict[BinKey, StreamBin] = {}
        labels: dict[LabelKey, LabelRate] = {}
        promised_ms, waiting = self.promised_ms, self._waiting
        for _ in range(ENTERED_PER_STEP_MAX):
            if not waiting or waiting[0].settled_at_ms > promised_ms:
                break
            self._enter(heapq.heappop(waiting), touched, labels, step)
        for new in self._new.values():
            step.changes[_waiting_key(new.id)] = new
        self._new.clear()
        for (stream, index), held in touched.items():
            key = bin_key(stream, index)
            step.changes[b"b/" + key.encode()] = _bin_row(stream, index, held)
            step.updates.append((key, _update_of(stream, index, held)))
        for (stream, label), rate in labels.items():
            key = label_key(stream, label)
            step.changes[b"r/" + key.encode()] = now = told(rate)
            step.updates.append((key, now))
        return step

    def _enter(
        self,
        waiting: Waiting,
        touched: dict[BinKey, StreamBin],
        labels: dict[LabelKey, LabelRate],
        step: CalibratorStep,
    ) -> None:
        if waiting.millionths is None:
            self._enter_label(waiting, labels)
        else:
            key = (waiting.stream, bin_index_of(waiting.millionths))
            held = self.bins.get(key)
            if held is None:
                held = self.bins[key] = StreamBin()
            y = y_of(waiting.status, waiting.expired_counts)
            held.update(waiting.millionths, y, waiting.status, waiting.is_lead)
            held.last_settled_at_ms = waiting.settled_at_ms
            touched[key] = held
        if self._new.pop(waiting.id, None) is None:
            step.changes[_waiting_key(waiting.id)] = None

    def _enter_label(self, waiting: Waiting, labels: dict[LabelKey, LabelRate]) -> None:
        assert waiting.label is not None, f"{waiting.id} has neither a confidence nor a label"
        key = (waiting.stream, waiting.label)
        rate = self.labels.get(key)
        if rate is None:
            rate = self.labels[key] = empty_rate(*key)
        y = y_of(waiting.status, waiting.expired_counts)
        count(rate, waiting.status, y, waiting.is_lead, waiting.settled_at_ms)
        labels[key] = rate

    def restore(self, key: bytes, row: Any) -> None:
        """Takes back one row of the changelog; each key comes once, with its last row."""
        if key.startswith(b"h/"):
            waiting = Waiting(*row)
            heapq.heappush(self._waiting, waiting._replace(stream=Stream(*waiting.stream)))
        elif key.startswith(b"b/"):
            stream, index, every, lead, counts, last_settled_at_ms = row
            self.bins[Stream(*stream), index] = StreamBin(
                Sums(*map(int, every)), Sums(*map(int, lead)), counts, last_settled_at_ms
            )
        elif key.startswith(b"r/"):
            rate = msgspec.convert(row, LabelRate)
            stream = Stream(*(getattr(rate, name) for name in Stream._fields))
            self.labels[stream, rate.confidence_label] = rate
        else:
            raise AssertionError(f"no such row: {key!r}")


def bin_key(stream: Stream, index: int) -> str:
    """The record key of a bin.

    >>> bin_key(Stream("t", "qualify", "deal_progression", 60000, "judge"), 3)
    't/qualify/deal_progression/60000/judge/3'
    """
    return "/".join(map(str, (*stream, index)))


def _waiting_key(outcome_id: str) -> bytes:
    return b"h/" + outcome_id.encode()


def _bin_row(stream: Stream, index: int, held: StreamBin) -> tuple[Any, ...]:
    return (
        stream,
        index,
        [str(getattr(held.all, name)) for name in SUM_NAMES],
        [str(getattr(held.lead, name)) for name in SUM_NAMES],
        dict(held.counts),
        held.last_settled_at_ms,
    )


def _update_of(stream: Stream, index: int, held: StreamBin) -> CalibrationUpdate:
    return CalibrationUpdate(
        **stream._asdict(),
        bin_index=index,
        all=_bin_sums_of(held.all),
        lead=_bin_sums_of(held.lead),
        counts=dict(held.counts),
        last_settled_at_ms=held.last_settled_at_ms,
    )


def _bin_sums_of(sums: Sums) -> BinSums:
    return BinSums(
        n=sums.n,
        sp=sums.sp,
        spp=str(sums.spp),
        sy=sums.sy,
        spy=sums.spy,
        excluded_n=sums.excluded_n,
        excluded_sp=sums.excluded_sp,
        excluded_spp=str(sums.excluded_spp),
    )
