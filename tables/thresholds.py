"""Where an agent should act: the threshold τ that follows the calibration map in force.

An agent acts where its confidence is at least τ, and means "success at least ρ". Evidence against
the map in force adopts a new one; the threshold then walks to where that map wants it, a step per
cool-down. The law: everything here is a function of the stored state, the test and the sums; time
is event time. Where only p ≥ τ is acted on, nothing below is seen and the threshold could only
rise: so it goes down by small steps, each on what the last one showed. A person's choice holds.

References:
    Elkan, C. (2001). The Foundations of Cost-Sensitive Learning. IJCAI 17.
    Lakkaraju, H. et al. (2017). The Selective Labels Problem. KDD 23. Of what is decided against
    no outcome is seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agents_topics.shapes import CalibrationAdjustment
from tables.calibration_bins import UNIT, Sums, bin_index_of
from tables.calibration_map import CalibrationMap
from tables.evidence_odds import evidence_odds
from tables.miscalibration_test import MiscalibrationTest
from tables.recalibration import recalibration
from tables.verdict import has_enough
from tables.watched_interval import watched_interval

STEP_MAX = 100_000
BLIND_STEP_MAX = 20_000
BLIND_RECORDS_MIN = 30
BLIND_SHORTFALL_MAX = 50_000
SURE_STANDARD_ERRORS = 2
DIGITS = 6


@dataclass(frozen=True, slots=True)
class ThresholdRule:
    """The success that is meant, ρ in millionths, and the wait between steps: one window."""

    target: int
    cool_down_ms: int
    alpha: float = 0.05


@dataclass(frozen=True, slots=True)
class Threshold:
    """τ in millionths, when it last changed, what it was before (latest last), whether it is held.

    >>> held = Threshold(700_000).overridden(650_000, at_ms=9)
    >>> held.value, held.is_held, held.rolled_back(at_ms=10).value
    (650000, True, 700000)
    """

    value: int
    changed_at_ms: int | None = None
    earlier: tuple[int, ...] = ()
    is_held: bool = False

    def moved(self, value: int, at_ms: int) -> "Threshold":
        """The threshold after a step."""
        return replace(self, value=value, changed_at_ms=at_ms, earlier=(*self.earlier, self.value))

    def overridden(self, value: int, at_ms: int) -> "Threshold":
        """The threshold that a person chose: it stays until it is released."""
        return replace(self.moved(value, at_ms), is_held=True)

    def rolled_back(self, at_ms: int) -> "Threshold":
        """The threshold before the last change, held; itself where there was none."""
        if not self.earlier:
            return self
        return Threshold(self.earlier[-1], at_ms, self.earlier[:-1], is_held=True)

    def released(self, at_ms: int) -> "Threshold":
        """The threshold that may move again, one cool-down from now."""
        return replace(self, is_held=False, changed_at_ms=at_ms)


@dataclass(frozen=True, slots=True)
class Seen:
    """Lead sums by bin: of the epoch, since τ last changed, of all; whether p < τ is acted on."""

    epoch: Sequence[Sums]
    since_change: Sequence[Sums]
    ever: Sequence[Sums]
    is_below_observed: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """The threshold from now on, the map to adopt if any, and the reason in words."""

    threshold: Threshold
    adopted: CalibrationMap | None
    reason: str


def decide(
    threshold: Threshold,
    rule: ThresholdRule,
    test: MiscalibrationTest,
    seen: Seen,
    at_ms: int,
) -> Decision:
    """Adopts a map if evidence asks for one, and takes a step to where the map in force wants τ.

    >>> test, sums = MiscalibrationTest(), [Sums() for _ in range(10)]
    >>> for n in range(400):
    ...     p, y = (650_000, 850_000)[n % 2], int(n % 20 < (9, 13)[n % 2])
    ...     test.update(p, y, n); sums[bin_index_of(p)].update(p, y)
    >>> rule, seen = ThresholdRule(700_000, 1), Seen(sums, sums, sums, True)
    >>> found = decide(Threshold(700_000), rule, test, seen, 400)
    >>> found.threshold.value, found.adopted.inverse_millionths(700_000)
    (800000, 917748)

    The caller adopts the map in the test and begins the epoch's sums anew; and those since the
    change wherever τ or map has changed.
    """
    if threshold.is_held:
        return Decision(threshold, None, "not moved: held by a person")
    if not is_rested(threshold, rule, test, at_ms):
        return Decision(threshold, None, "not moved: the cool-down of one window is not over")
    adopted, against = _new_map(threshold, rule, test, seen)
    in_force = adopted or (test.epoch.map if test.epoch else None)
    if in_force is None:
        return Decision(threshold, None, f"not moved: {against}")
    goal = in_force.inverse_millionths(rule.target)
    value, blocked = _step(threshold.value, goal, rule, seen)
    if blocked:
        return Decision(threshold, adopted, f"not moved: {blocked}")
    reason = _reason(in_force, test, seen, threshold.value, value)
    return Decision(threshold.moved(value, at_ms), adopted, reason)


def is_rested(
    threshold: Threshold, rule: ThresholdRule, test: MiscalibrationTest, at_ms: int
) -> bool:
    """Whether a cool-down has passed since threshold and map last changed."""
    changes = [threshold.changed_at_ms, test.epoch.adopted_at_ms if test.epoch else None]
    return all(at_ms >= change + rule.cool_down_ms for change in changes if change is not None)


def _new_map(
    threshold: Threshold, rule: ThresholdRule, test: MiscalibrationTest, seen: Seen
) -> tuple[CalibrationMap | None, str]:
    """The map to adopt, or what keeps a new one from being adopted."""
    if not test.of_map.is_alarm(rule.alpha):
        return None, weak_evidence(test, rule)
    if not has_enough(seen.epoch):
        n, sy = sum(b.n for b in seen.epoch), sum(b.sy for b in seen.epoch)
        rarer = min(sy, n - sy)
        return None, f"{n:,} lead records with {rarer:,} of the rarer outcome, of 100 with 20"
    fitted = recalibration(seen.epoch)
    wanted = fitted.map.inverse_millionths(rule.target)
    error = UNIT * fitted.threshold_standard_error(rule.target / UNIT)
    if abs(wanted - threshold.value) < SURE_STANDARD_ERRORS * error:
        return None, (
            f"the threshold wanted, {wanted / UNIT:.3f}, is within two standard errors"
            f" ({error / UNIT:.3f} each) of {threshold.value / UNIT:.3f}"
        )
    return fitted.map, ""


def weak_evidence(test: MiscalibrationTest, rule: ThresholdRule) -> str:
    """What there is against the map in force, and how much there would have to be."""
    evidence = test.of_map
    found, worst = evidence.log_nanos(), evidence.robust_log_nanos()
    at_worst = f", at the worst of the excluded {evidence_odds(worst)}" if worst < found else ""
    bound = f"1 : {1 / rule.alpha:g}"
    return f"evidence {evidence_odds(found)}{at_worst} against the map in force, of {bound}"


def _step(value: int, goal: int, rule: ThresholdRule, seen: Seen) -> tuple[int, str]:
    """Where τ goes now, or why it stays."""
    if value == goal:
        return value, "it is where the map in force wants it"
    if goal > value:
        return min(goal, value + STEP_MAX), ""
    if seen.is_below_observed:
        return max(goal, value - STEP_MAX), ""
    at = seen.since_change[bin_index_of(value)]
    if at.n < BLIND_RECORDS_MIN:
        return value, f"{at.n} lead records at the threshold since the last step, of 30"
    low, _ = watched_interval(at.sy, at.n, rule.alpha)
    if low * UNIT < rule.target - BLIND_SHORTFALL_MAX:
        least = (rule.target - BLIND_SHORTFALL_MAX) / UNIT
        return value, f"success at the threshold may be {low:.3f}, less than {least:.3f}"
    return max(goal, value - BLIND_STEP_MAX), ""


def _reason(
    in_force: CalibrationMap, test: MiscalibrationTest, seen: Seen, old: int, new: int
) -> str:
    """Map, evidence, stated and actual at the threshold, and the change that is expected."""
    evidence, at = test.of_map, seen.epoch[bin_index_of(old)]
    since = "the last map" if test.epoch else "the test began"
    shown = f"nothing seen at the threshold since {since}"
    if at.n:
        stated, actual = at.sp / UNIT / at.n, at.sy / at.n
        shown = f"at the threshold stated {stated:.3f}, right {actual:.3f} of {at.n:,}"
    return (
        f"map a {in_force.a:.3f}, b {in_force.b:.3f}; evidence"
        f" {evidence_odds(evidence.log_nanos())} after {evidence.n:,} lead records; {shown};"
        f" {_change_words(in_force, seen, old, new)}"
    )


def _change_words(in_force: CalibrationMap, seen: Seen, old: int, new: int) -> str:
    before, after = (expected_success(in_force, seen.ever, value) for value in (old, new))
    if before is not None and after is not None:
        return f"success there expected to go from {before:.3f} to {after:.3f}"
    told = (
        f"{'unobserved' if found is None else f'{found:.3f}'} at {value / UNIT:.3f}"
        for found, value in ((before, old), (after, new))
    )
    return f"success expected: {', '.join(told)}"


def expected_success(found: CalibrationMap, ever: Sequence[Sums], threshold: int) -> float | None:
    """The success that a map expects at a threshold; None where its bin has no lead record at all.

    One that was ever seen will do, however old: this is told and decides nothing.

    >>> ever = [Sums() for _ in range(10)]; ever[7].update(720_000, 1)
    >>> doubting = CalibrationMap(-500_000, 1_000_000)
    >>> [expected_success(doubting, ever, threshold) for threshold in (700_000, 800_000)]
    [0.585962, None]
    """
    return round(found.of(threshold / UNIT), DIGITS) if ever[bin_index_of(threshold)].n else None


def adjustment(
    action_type: str, before: Threshold, decision: Decision
) -> CalibrationAdjustment | None:
    """What readers get of a step; None if τ stays.

    >>> step = Decision(Threshold(700_000).moved(720_000, 5), None, "because")
    >>> adjustment("send_email", Threshold(700_000), step).direction
    'increase'
    """
    old, new = before.value, decision.threshold.value
    if old == new:
        return None
    return CalibrationAdjustment(
        action_type=action_type,
        direction="increase" if new > old else "decrease",
        magnitude=abs(new - old) / UNIT,
        old_threshold=old / UNIT,
        new_threshold=new / UNIT,
        reason=decision.reason,
    )


@dataclass(frozen=True, slots=True)
class Effect:
    """Success of what was acted on before and after a change of τ, and how many records tell."""

    before: float
    after: float
    n_before: int
    n_after: int


def observed_effect(before: Sequence[Sums], after: Sequence[Sums]) -> Effect | None:
    """The effect of a change, from lead sums on both sides of it; None where one is empty.

    >>> observed_effect([Sums(n=40, sy=24)], [Sums(n=10, sy=7)])
    Effect(before=0.6, after=0.7, n_before=40, n_after=10)
    """
    n, sy = sum(b.n for b in before), sum(b.sy for b in before)
    n_after, sy_after = sum(b.n for b in after), sum(b.sy for b in after)
    if not n or not n_after:
        return None
    return Effect(sy / n, sy_after / n_after, n, n_after)
