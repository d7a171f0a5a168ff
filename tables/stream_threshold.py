"""A stream's threshold: the map it follows, what is seen since it moved, and what came of that.

`tables.thresholds.decide` says whether it moves; here stands when it is asked, which is only where
it can do something: not while a person holds the threshold, not in the cool-down, and not without
evidence or a map that wants the threshold elsewhere. Where it answered "not moved" it is asked
again a twentieth more records later: the same fit over almost the same sums says the same.

References:
    Elkan, C. (2001). The Foundations of Cost-Sensitive Learning. IJCAI 17. The threshold of a
    calibrated probability is the success that is meant; here it is taken back through the map.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple

from agents_topics.calibration import CalibrationMap as MapRecord
from agents_topics.calibration import ThresholdAdjustment
from tables.calibration_bins import UNIT, Sums, bin_index_of
from tables.calibration_map import CalibrationMap
from tables.map_form import map_form
from tables.miscalibration_test import MiscalibrationTest
from tables.stream import Stream
from tables.stream_sums import Settled
from tables.stream_test import ten_sums
from tables.stream_times import NEVER_MS
from tables.thresholds import (
    BLIND_RECORDS_MIN,
    DIGITS,
    Decision,
    Seen,
    Threshold,
    ThresholdRule,
    decide,
    expected_success,
    is_rested,
    weak_evidence,
)
from tables.verdict import has_enough

EFFECT_RECORDS = 100
"""So many lead records that were acted on tell the effect of a change."""
ASKED_AGAIN_SHARE = 20
EARLIER_MAX = 100
"""So many changes may be rolled back."""

Cause = Literal["evidence", "set", "roll_back", "release"]
goal_of = lru_cache(CalibrationMap.inverse_millionths)


class StreamRule(NamedTuple):
    """What the policy says of a stream, in millionths: the success meant, and the first τ."""

    target: int
    first_threshold: int


@dataclass(slots=True)
class ActedOn:
    """Lead records that were acted on, p ≥ τ, since an action time; how many of them came true.

    >>> ActedOn(n=30, sy=20).rate, ActedOn().rate
    (0.666667, None)
    """

    since_ms: int = NEVER_MS
    n: int = 0
    sy: int = 0

    @property
    def rate(self) -> float | None:
        """The success; None where nothing was acted on."""
        return round(self.sy / self.n, DIGITS) if self.n else None


class Told(NamedTuple):
    """What a decision is told as."""

    adjustments: list[ThresholdAdjustment]
    map: MapRecord | None = None


class StreamThreshold:
    """The threshold of one stream, and what is seen for it.

    >>> test = MiscalibrationTest()
    >>> stream = Stream("t", "qualify", "deal_progression", 3_600_000, "judge")
    >>> held = StreamThreshold(stream, ten_sums(), 700_000, is_first=True)
    >>> (moved,) = held.override("set", 750_000, 5, "ann: spring sale", test)
    >>> moved.direction, moved.old_threshold, moved.new_threshold, held.reason
    ('increase', 0.7, 0.75, 'set by ann: spring sale')
    >>> seen, back = held.override("roll_back", None, 6, "ann: worse", test)
    >>> seen.number, back.number, held.threshold.value, held.threshold.is_held
    (1, 2, 700000, True)

    Args:
        lead_bins: The stream's lead sums, by bin: what was ever observed, and all that is seen
            while nothing has changed yet.
        is_first: Whether nothing of the stream came before.
    """

    def __init__(
        self, stream: Stream, lead_bins: Sequence[Sums], first: int, is_first: bool
    ) -> None:
        self.stream = stream
        self.threshold = Threshold(first)
        self.since_ms = NEVER_MS
        """Since this action time lead records count for the next step."""
        self.own_since: list[Sums] | None = None if is_first else ten_sums()
        self.own_epoch: list[Sums] | None = None
        self.below_n = 0
        self.acted_on = ActedOn()
        self.unobserved: ThresholdAdjustment | None = None
        """The last adjustment, until its effect is known."""
        self.adjustment_count = 0
        self.map_count = 0
        self.reason = ""
        self.asked_at_n = 0
        """At so many records of the map's test it may be asked again."""
        self._lead_bins = lead_bins

    def update(self, settled: Settled, test: MiscalibrationTest) -> list[ThresholdAdjustment]:
        """Counts a lead record; returns the last adjustment where its effect is known by it."""
        millionths, y, at_ms = settled.millionths, settled.y, settled.created_at_ms
        index = bin_index_of(millionths)
        if self.own_epoch is not None and test.epoch and at_ms >= test.epoch.adopted_at_ms:
            self.own_epoch[index].update(millionths, y)
        if at_ms >= self.since_ms:
            if self.own_since is not None:
                self.own_since[index].update(millionths, y)
            if y is not None and millionths < self.threshold.value:
                self.below_n += 1
        if y is not None and millionths >= self.threshold.value and at_ms >= self.acted_on.since_ms:
            self.acted_on.n += 1
            self.acted_on.sy += y
            if self.unobserved is not None and self.acted_on.n >= EFFECT_RECORDS:
                return self._observe()
        return []

    def _observe(self) -> list[ThresholdAdjustment]:
        """The last adjustment with its effect, if that is not yet told."""
        last, self.unobserved, seen = self.unobserved, None, self.acted_on
        if last is None:
            return []
        return [replace(last, observed_after=seen.rate, observed_n_after=seen.n)]

    def seen(self, test_lead: Sequence[Sums]) -> Seen:
        """What a decision rests on; without a map the epoch is the test's."""
        return Seen(
            test_lead if self.own_epoch is None else self.own_epoch,
            self._lead_bins if self.own_since is None else self.own_since,
            self._lead_bins,
            self.below_n >= BLIND_RECORDS_MIN,
        )

    def consider(
        self, at_ms: int, rule: StreamRule, test: MiscalibrationTest, test_lead: Sequence[Sums]
    ) -> Told:
        """Asks for a decision where there may be one, and carries it out."""
        if self.threshold.is_held or test.of_map.n < self.asked_at_n:
            return Told([])
        asked = ThresholdRule(rule.target, self.stream.window_ms, test.alpha)
        if not is_rested(self.threshold, asked, test, at_ms) or not self._may_move(
            asked, test, test_lead
        ):
            return Told([])
        decision = decide(self.threshold, asked, test, self.seen(test_lead), at_ms)
        self.reason = decision.reason
        if decision.adopted is None and decision.threshold == self.threshold:
            n = test.of_map.n
            self.asked_at_n = n + max(1, n // ASKED_AGAIN_SHARE)
            return Told([])
        return self._carry_out(decision, at_ms, test, test_lead)

    def _may_move(
        self, rule: ThresholdRule, test: MiscalibrationTest, test_lead: Sequence[Sums]
    ) -> bool:
        if test.epoch and goal_of(test.epoch.map, rule.target) != self.threshold.value:
            return True
        lead = test_lead if self.own_epoch is None else self.own_epoch
        return test.of_map.is_alarm(rule.alpha) and has_enough(lead)

    def _carry_out(
        self,
        decision: Decision,
        at_ms: int,
        test: MiscalibrationTest,
        test_lead: Sequence[Sums],
    ) -> Told:
        epoch, evidence = self.seen(test_lead).epoch, test.of_map
        n, log_nanos = evidence.n, evidence.log_nanos()
        adopted = None
        if decision.adopted is not None:
            adopted = self._adopt(decision.adopted, epoch, at_ms, test)
        told: list[ThresholdAdjustment] = []
        if decision.threshold != self.threshold:
            assert test.epoch, "a threshold follows a map"
            found = test.epoch.map
            told = self._change(decision.threshold, "evidence", at_ms, found, n, log_nanos)
        self._begin_since(at_ms)
        return Told(told, adopted)

    def _adopt(
        self, found: CalibrationMap, epoch: Sequence[Sums], at_ms: int, test: MiscalibrationTest
    ) -> MapRecord:
        self.map_count += 1
        form, rates = map_form(epoch, found)
        test.adopt(found, at_ms)
        told = MapRecord(
            **self.stream._asdict(),
            number=self.map_count,
            adopted_at_ms=at_ms,
            n=sum(sums.n for sums in epoch),
            form=form,
            a_millionths=found.a_millionths,
            b_millionths=found.b_millionths,
            rates=[None if rate is None else rate / UNIT for rate in rates],
        )
        self.own_epoch = ten_sums()
        return told

    def override(
        self, cause: Cause, value: int | None, at_ms: int, reviewer: str, test: MiscalibrationTest
    ) -> list[ThresholdAdjustment]:
        """Does what a person asks: sets τ, takes back its last change, or releases it."""
        if cause == "set":
            assert value is not None, "a threshold is set to something"
            changed = self.threshold.overridden(value, at_ms)
        elif cause == "roll_back":
            changed = self.threshold.rolled_back(at_ms)
        else:
            changed = self.threshold.released(at_ms)
        is_first = cause == "roll_back" and not self.threshold.earlier
        done = "not moved: no change to take back, asked" if is_first else OVERRIDDEN[cause]
        self.reason = f"{done} by {reviewer}"
        evidence = test.of_map
        told = self._change(changed, cause, at_ms, None, evidence.n, evidence.log_nanos())
        self._begin_since(at_ms)
        return told

    def _change(
        self,
        changed: Threshold,
        cause: Cause,
        at_ms: int,
        found: CalibrationMap | None,
        n: int,
        log_nanos: int,
    ) -> list[ThresholdAdjustment]:
        """The threshold is another one; what the one before has brought is known by now."""
        told, before = self._observe(), self.acted_on
        old, new = self.threshold.value, changed.value
        self.adjustment_count += 1
        self.unobserved = ThresholdAdjustment(
            **self.stream._asdict(),
            number=self.adjustment_count,
            at_ms=at_ms,
            cause=cause,
            direction="none" if new == old else "increase" if new > old else "decrease",
            magnitude=abs(new - old) / UNIT,
            old_threshold=old / UNIT,
            new_threshold=new / UNIT,
            reason=self.reason,
            map_a_millionths=found and found.a_millionths,
            map_b_millionths=found and found.b_millionths,
            n=n,
            log_evidence_nanos=log_nanos,
            expected_before=found and expected_success(found, self._lead_bins, old),
            expected_after=found and expected_success(found, self._lead_bins, new),
            observed_before=before.rate,
            observed_after=None,
            observed_n_before=before.n,
            observed_n_after=0,
        )
        self.threshold = replace(changed, earlier=changed.earlier[-EARLIER_MAX:])
        self.acted_on = ActedOn(at_ms)
        return [*told, self.unobserved]

    def _begin_since(self, at_ms: int) -> None:
        self.since_ms, self.own_since, self.below_n, self.asked_at_n = at_ms, ten_sums(), 0, 0

    def on_new_test(self) -> None:
        """The test has begun anew: what was asked at its records is asked again at its own."""
        self.asked_at_n = 0

    def why(self, rule: StreamRule, test: MiscalibrationTest) -> str:
        """Why the threshold stands where it is."""
        if self.reason:
            return self.reason
        asked = ThresholdRule(rule.target, self.stream.window_ms, test.alpha)
        return f"not moved: {weak_evidence(test, asked)}"


OVERRIDDEN: dict[Cause, str] = {
    "set": "set",
    "roll_back": "taken back",
    "release": "released",
}
