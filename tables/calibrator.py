"""One partition of the calibrator: the folds of its streams, labels, and the outcomes that wait.

The law: a settled calibrating outcome enters its stream once, or its label's counts where its
action stated no number, in the order (settle time, action time, action_id, conversation_id) over
all resolver tasks. An outcome waits here until every source has promised that nothing with an
earlier settle time will follow; without promises the order would be that of arrival. What a person
decides enters after all that was promised when it came. A step returns the absolute values of what
was touched and the changelog's rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import msgspec

from agents_topics.calibration import StreamTrend
from agents_topics.events import ControlOverride, Outcome, Promise
from agents_topics.label_rates import LabelRate
from agents_topics.policy import Policy
from tables.calibration_bins import StreamBin, millionths_of, y_of
from tables.calibration_map import IDENTITY
from tables.evidence_increments import prepare
from tables.forgetting_tenants import ForgettingTenants
from tables.label_rates import LabelKey, count, empty_rate, entered, label_key, told
from tables.overrides import Overrides
from tables.stream import Stream
from tables.stream_calibration import Rules, StreamFold
from tables.stream_records import Record, emptied_of, records_of, stream_key
from tables.stream_rows import KINDS, keys_of, restore_row, stream_of, take_rows
from tables.stream_sums import Settled
from tables.stream_times import NEVER_MS
from tables.waiting_outcomes import Waiting, WaitingOutcomes

ENTERED_PER_TURN = 100
"""Of one stream so many enter without a stop: at .1 to .2 ms an outcome."""


@dataclass(slots=True)
class CalibratorStep:
    """What a step wants written: records of what changed, changelog rows (None deletes); trends
    whose comparison is news, in order; and the keys of streams that are gone.
    """

    updates: list[tuple[str, Record | LabelRate]] = field(default_factory=list)
    changes: dict[bytes, Any] = field(default_factory=dict)
    trend_changes: list[StreamTrend] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


class Calibrator:
    """The state of one partition; `source_count` resolver tasks feed it.

    Args:
        policy: Says of each stream what success is meant, the first threshold, and the segments.
    """

    def __init__(self, source_count: int, policy: Policy) -> None:
        self.promises: dict[int, int] = dict.fromkeys(range(source_count), NEVER_MS)
        self.folds: dict[Stream, StreamFold] = {}
        self.labels: dict[LabelKey, LabelRate] = {}
        self.overrides = Overrides()
        self.forgetting = ForgettingTenants(source_count)
        self._rules = Rules(policy)
        self._waiting = WaitingOutcomes()
        self._new: dict[str, Waiting] = {}
        self._touched: dict[Stream, StreamFold] = {}
        self._touched_labels: dict[LabelKey, LabelRate] = {}
        self._step = CalibratorStep()

    @property
    def bins(self) -> dict[tuple[Stream, int], StreamBin]:
        """Every bin by stream and index."""
        return {
            (stream, index): held
            for stream, fold in self.folds.items()
            for index, held in fold.sums.bins.items()
        }

    @property
    def promised_ms(self) -> int:
        """Every outcome with a settle time at or before this has come."""
        return min(self.promises.values())

    @property
    def is_entering(self) -> bool:
        """Whether an outcome's turn has come."""
        return self._waiting.are_due or self._waiting.next_ms <= self.promised_ms

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

    def on_override(self, override: ControlOverride) -> None:
        """A person decided something; a copy of what was taken is left out."""
        self.overrides.take(override, self.promised_ms)

    def on_settled(self, outcome: Outcome) -> None:
        """A calibrating outcome has settled."""
        confidence, resolved_at_ms = outcome.predicted_confidence, outcome.resolved_at_ms
        is_signalled = outcome.decided_by is not None and resolved_at_ms is not None
        dimensions = self._rules.version_of(outcome.policy_version, outcome.created_at_ms).segments
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
            policy_version=outcome.policy_version,
            delay_ms=(resolved_at_ms or 0) - outcome.created_at_ms if is_signalled else None,
            agent_version=outcome.agent_version,
            segments=tuple((name, getattr(outcome, name) or "") for name in dimensions),
        )
        self._waiting.push(waiting)
        self._new[waiting.id] = waiting

    def on_forgotten(self, tenant_id: str, forget_id: str, source: int) -> None:
        """A source has forgotten a tenant. At the first word of it all that is held of the tenant
        goes; what the other sources still say until their own word is of what they will forget.
        """
        if not self.forgetting.on_word(tenant_id, forget_id, source):
            return
        changes = self._step.changes
        for waiting in self._waiting.forget(tenant_id):
            self._forget_waiting(waiting.id)
        self.overrides.forget(tenant_id)
        for stream in [stream for stream in self.folds if stream.tenant_id == tenant_id]:
            fold = self.folds.pop(stream)
            self._touched.pop(stream, None)
            changes |= dict.fromkeys(keys_of(fold))
            self._step.updates += emptied_of(fold)
            self._step.gone.append(stream_key(stream))
        for stream, label in [key for key in self.labels if key[0].tenant_id == tenant_id]:
            del self.labels[stream, label]
            changes[b"r/" + label_key(stream, label).encode()] = None
            self._touched_labels.pop((stream, label), None)
            self._step.updates.append((label_key(stream, label), empty_rate(stream, label)))

    def enter(self, count_max: int | None = None) -> None:
        """Lets outcomes enter whose turn has come, at most so many, and what people decided."""
        for _ in self.entering(count_max):
            pass

    def entering(self, count_max: int | None = None) -> Iterator[None]:
        """The same, stopping after every few, where the caller may do something else; but no other
        call is made before its end.
        """
        left = len(self._waiting) if count_max is None else count_max
        while left and self.is_entering:
            if not self._waiting.are_due:
                self._override_until(self._waiting.next_ms)
            yield from self._waiting.release(min(self.promised_ms, self.overrides.next_ms))
            coming = self._waiting.take(left)
            left -= sum(map(len, coming.values()))
            yield from self._enter_by_stream(coming)
        if not self.is_entering:
            self._override_until(self.promised_ms + 1)

    def finish(self) -> CalibratorStep:
        """Ends the step; what has not entered waits on."""
        step, self._step = self._step, CalibratorStep()
        self.forgetting.finish(step.changes)
        for new in self._new.values():
            step.changes[_waiting_key(new.id)] = new
        self._new.clear()
        step.changes |= self.overrides.take_rows()
        for fold in self._touched.values():
            step.updates += records_of(fold)
            step.trend_changes += fold.take_trend_changes()
            step.changes |= take_rows(fold)
        self._touched.clear()
        for (stream, label), rate in self._touched_labels.items():
            key = label_key(stream, label)
            step.changes[b"r/" + key.encode()] = now = told(rate)
            step.updates.append((key, now))
        self._touched_labels.clear()
        return step

    def _enter_by_stream(self, coming: Mapping[Stream, Sequence[Waiting]]) -> Iterator[None]:
        """One stream after the other, each in order: a stream works out together what comes."""
        due = list(chain.from_iterable(coming.values()))
        prepare((w.millionths for w in due if w.is_lead and w.millionths is not None), IDENTITY)
        yield
        for waiting in due:
            self._forget_waiting(waiting.id)
            if waiting.millionths is None:
                self._enter_label(waiting)
        for stream, some in coming.items():
            if stated := [waiting for waiting in some if waiting.millionths is not None]:
                yield from self._enter_stream(stream, stated)

    def _enter_stream(self, stream: Stream, coming: Sequence[Waiting]) -> Iterator[None]:
        fold = self._touched[stream] = self._fold_of(stream)
        settled = [_settled_of(waiting) for waiting in coming]
        fold.expect(settled)
        for number, (waiting, one) in enumerate(zip(coming, settled, strict=True), 1):
            fold.update(one, self._rules.of(stream, one.policy_version, waiting.created_at_ms))
            if number % ENTERED_PER_TURN == 0:
                yield
        yield

    def _forget_waiting(self, outcome_id: str) -> None:
        if self._new.pop(outcome_id, None) is None:
            self._step.changes[_waiting_key(outcome_id)] = None

    def _fold_of(self, stream: Stream) -> StreamFold:
        fold = self.folds.get(stream)
        if fold is None:
            fold = self.folds[stream] = StreamFold(stream)
        return fold

    def _enter_label(self, waiting: Waiting) -> None:
        assert waiting.label is not None, f"{waiting.id} has neither a confidence nor a label"
        key = (waiting.stream, waiting.label)
        rate = self.labels.get(key)
        if rate is None:
            rate = self.labels[key] = empty_rate(*key)
        y = y_of(waiting.status, waiting.expired_counts)
        count(rate, waiting.status, y, waiting.is_lead, waiting.settled_at_ms)
        self._touched_labels[key] = rate

    def _override_until(self, settled_at_ms: float) -> None:
        """What a person decided before outcomes of this settle time were promised."""
        for taken in self.overrides.due(settled_at_ms):
            for stream, fold in self.folds.items():
                if taken.is_for(stream):
                    version = fold.policy_version
                    fold.on_override(taken.override, self._rules.of(stream, version, taken.at_ms))
                    self._touched[stream] = fold

    def restore(self, key: bytes, row: Any) -> None:
        """Takes back one row of the changelog; each key comes once, with its last row."""
        kind = key[:2]
        if kind == b"h/":
            waiting = Waiting(*row)
            segments = tuple((name, value) for name, value in waiting.segments)
            stream = Stream(*waiting.stream)
            self._waiting.push(waiting._replace(stream=stream, segments=segments))
        elif kind in KINDS:
            restore_row(self._fold_of(stream_of(row)), kind, row[1:])
        elif kind == b"o/":
            self.overrides.restore(row)
        elif kind == b"r/":
            rate = msgspec.convert(row, LabelRate)
            stream = Stream(*(getattr(rate, name) for name in Stream._fields))
            self.labels[stream, rate.confidence_label] = rate
        elif key.startswith(b"f/"):
            self.forgetting.restore(key, row)
        else:
            raise AssertionError(f"no such row: {key!r}")


def _settled_of(waiting: Waiting) -> Settled:
    """What enters the stream."""
    assert waiting.millionths is not None, f"{waiting.id} states no confidence"
    return Settled(
        waiting.settled_at_ms,
        waiting.created_at_ms,
        waiting.millionths,
        y_of(waiting.status, waiting.expired_counts),
        waiting.status,
        waiting.is_lead,
        waiting.policy_version,
        waiting.delay_ms,
        waiting.agent_version,
        waiting.segments,
    )


def _waiting_key(outcome_id: str) -> bytes:
    return b"h/" + outcome_id.encode()
