"""The calibration of one stream: a fold over its settled outcomes in settle order.

The law: `StreamFold` takes every settled outcome of a stream that stated a number, in the order
(settle time, action time, action_id, conversation_id), and each override before the first outcome
that settles later than it was made. Its state, and so all that it tells, is a function of these in
that order: live, replayed or restored from rows, cut into steps anyhow. Settle time is its clock;
nobody else counts.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from agents_topics.calibration import CalibrationAlarm, StreamTrend, ThresholdAdjustment
from agents_topics.calibration import CalibrationMap as MapRecord
from agents_topics.policy import Policy, PolicyVersion
from tables.calibration_bins import UNIT, millionths_of
from tables.stream import Stream
from tables.stream_sums import DAYS_KEPT, Settled, StreamSums
from tables.stream_test import ClosedBy, StreamTest
from tables.stream_threshold import StreamRule, StreamThreshold
from tables.stream_trends import StreamTrends

Event = CalibrationAlarm | ThresholdAdjustment | MapRecord


class Override(NamedTuple):
    """What a person decided, and the settle time up to which everything had entered before it.

    `value` is the threshold that is set, in millionths, `reviewer` who decided it, and why.
    """

    at_ms: int
    cause: Literal["set", "roll_back", "release", "close_alarm"]
    value: int | None = None
    reviewer: str = ""


class StreamFold:
    """One stream.

    >>> fold = StreamFold(Stream("t", "qualify", "deal_progression", 3_600_000, "judge"))
    >>> for hour in range(40):
    ...     at_ms = 3_600_000 * hour
    ...     told = Settled(at_ms + 3_600_000, at_ms, 900_000, hour % 2, "positive", True, "5d1f")
    ...     fold.update(told, StreamRule(700_000, 700_000))
    >>> (alarm,) = fold.take_events()
    >>> alarm.n, alarm.direction, fold.judged.test.raw.n
    (11, 'over-confident', 40)
    """

    def __init__(self, stream: Stream, days_kept: int = DAYS_KEPT) -> None:
        self.stream = stream
        self.sums = StreamSums(days_kept)
        self.judged: StreamTest | None = None
        self.acting: StreamThreshold | None = None
        self.trends = StreamTrends(stream)
        self.rule: StreamRule | None = None
        self.policy_version = ""
        self.last_settled_at_ms = 0
        self._events: dict[tuple[str, int], Event] = {}
        self._trend_changes: list[StreamTrend] = []
        self._coming: deque[Settled] = deque()

    def expect(self, coming: Iterable[Settled]) -> None:
        """Says what is taken next, in order: known together it costs less, and changes no bit."""
        self._coming = deque(one for one in coming if one.is_lead)

    def update(self, settled: Settled, rule: StreamRule) -> None:
        """Takes a settled outcome in its turn, under the rule of its policy's version."""
        judged, acting = self._begun(settled.settled_at_ms, rule)
        self.sums.update(settled, self.stream.window_ms)
        self.rule, self.policy_version = rule, settled.policy_version
        self.last_settled_at_ms = settled.settled_at_ms
        if settled.is_lead:
            self._on_lead(settled, rule, judged, acting)
            self._trend_changes += self.trends.update(settled)

    def _on_lead(
        self, settled: Settled, rule: StreamRule, judged: StreamTest, acting: StreamThreshold
    ) -> None:
        at_ms = settled.settled_at_ms
        closed_by = judged.closes(settled)
        if closed_by is not None:
            self._close(closed_by, at_ms, judged, acting)
        if self._coming:
            assert self._coming[0] is settled, f"{self.stream}: another record was expected"
            judged.test.foresee(self._coming)
            self._coming.popleft()
        opened = judged.update(settled, acting.threshold.value)
        self._tell(*acting.update(settled, judged.test))
        if opened is not None:
            self._tell(opened)
        adjustments, adopted = acting.consider(at_ms, rule, judged.test, judged.lead)
        self._tell(*adjustments)
        if adopted is not None:
            self._tell(adopted)

    def on_override(self, override: Override, rule: StreamRule) -> None:
        """Does what a person decided; an alarm that is not open is not closed."""
        judged, acting = self._begun(override.at_ms, rule)
        if override.cause == "close_alarm":
            if judged.alarm is not None:
                self._close("person", override.at_ms, judged, acting)
            return
        at_ms, reviewer = override.at_ms, override.reviewer
        self._tell(*acting.override(override.cause, override.value, at_ms, reviewer, judged.test))

    def _close(
        self, closed_by: ClosedBy, at_ms: int, judged: StreamTest, acting: StreamThreshold
    ) -> None:
        self._tell(judged.close(closed_by, at_ms))
        acting.on_new_test()

    def _begun(self, at_ms: int, rule: StreamRule) -> tuple[StreamTest, StreamThreshold]:
        """The stream's test and threshold; where an earlier release only kept bins they begin."""
        if self.judged is None or self.acting is None:
            is_first, lead = not self.sums.bins, self.sums.lead
            self.judged = StreamTest(self.stream, lead, at_ms, is_first)
            self.acting = StreamThreshold(self.stream, lead, rule.first_threshold, is_first)
            self.rule = rule
        return self.judged, self.acting

    def _tell(self, *events: Event) -> None:
        for event in events:
            self._events[event.kind, event.number] = event

    def take_events(self) -> list[Event]:
        """Alarms, adjustments and maps as they now are, told since this was last asked."""
        events = [self._events[key] for key in sorted(self._events)]
        self._events.clear()
        return events

    def take_trend_changes(self) -> list[StreamTrend]:
        """Trends whose comparison was news, in order, since this was last asked."""
        changes, self._trend_changes = self._trend_changes, []
        return changes


def rule_of(version: PolicyVersion, stream: Stream) -> StreamRule:
    """What a version of the policy says of a stream; where it says nothing, its defaults.

    A target of 0 or 1 is no confidence that any map has: it is moved inside by a millionth.
    """
    rules = version.rules_of(stream.tenant_id, stream.action_type, stream.outcome_type)
    if not rules:
        return StreamRule(TARGET_DEFAULT, TARGET_DEFAULT)
    target = millionths_of(rules[0].target_success)
    first = millionths_of(rules[0].first_threshold)
    return StreamRule(min(max(target, 1), UNIT - 1), first)


class Rules:
    """The rules of streams, by the version of the policy that judged an outcome."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._known: dict[tuple[str, Stream], StreamRule] = {}

    def version_of(self, digest: str, at_ms: int) -> PolicyVersion:
        """The version with this digest; an earlier release's row lacks it: that of the time."""
        return self._policy.by_digest.get(digest) or self._policy.version_at(at_ms)

    def of(self, stream: Stream, digest: str, at_ms: int) -> StreamRule:
        """The rule of a stream under that version."""
        rule = self._known.get((digest, stream))
        if rule is None:
            rule = rule_of(self.version_of(digest, at_ms), stream)
            if digest in self._policy.by_digest:
                self._known[digest, stream] = rule
        return rule


TARGET_DEFAULT = 700_000


def in_order(
    settled: Iterable[Settled], overrides: Iterable[Override]
) -> Iterator[Settled | Override]:
    """The fold's inputs, each override before the first outcome that settles after it was made.

    >>> one = Settled(5, 0, 700_000, 1, "positive", True, "5d1f")
    >>> [x.at_ms if isinstance(x, Override) else x.settled_at_ms
    ...     for x in in_order([one, one._replace(settled_at_ms=6)], [Override(5, "release")])]
    [5, 5, 6]
    """
    waiting = sorted(overrides, key=lambda override: override.at_ms)
    place = 0
    for one in settled:
        while place < len(waiting) and waiting[place].at_ms < one.settled_at_ms:
            yield waiting[place]
            place += 1
        yield one
    yield from waiting[place:]
