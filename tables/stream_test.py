"""A stream's test and what it rests on: its lead sums, its alarms, and what begins it anew.

An alarm stays open, whatever the evidence does, until something new is tested: a version of the
agent or of the policy that the test has not seen, or a person says so. There E begins anew, at 1,
and with it the sums of verdict and fit. Nothing else restarts it: least of all that E is low.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, cast

from agents_topics.calibration import CalibrationAlarm
from tables.calibration_bins import BIN_COUNT, UNIT, Sums, bin_index_of
from tables.direction import direction
from tables.miscalibration_test import MiscalibrationTest
from tables.recalibration import recalibration
from tables.stream import Stream
from tables.stream_sums import Settled

VERSIONS_MAX = 50
"""So many versions of a test are remembered; the one that came first is forgotten first."""

ClosedBy = Literal["agent version", "policy", "person"]


class StreamTest:
    """The test of one stream.

    Args:
        lead_bins: The stream's lead sums, by bin.
        since_ms: The settle time at which the test begins.
        is_first: Whether nothing of the stream came before: then its sums are those of the stream,
            and are not kept twice.
    """

    def __init__(
        self, stream: Stream, lead_bins: Sequence[Sums], since_ms: int, is_first: bool
    ) -> None:
        self.stream = stream
        self.test = MiscalibrationTest()
        self.since_ms = since_ms
        self.alarm: CalibrationAlarm | None = None
        self.alarm_count = 0
        self.own: list[Sums] | None = None if is_first else ten_sums()
        self.versions: dict[str, None] = {}
        self._lead_bins = lead_bins

    @property
    def lead(self) -> Sequence[Sums]:
        """The lead sums of the test."""
        return self._lead_bins if self.own is None else self.own

    def update(self, settled: Settled, threshold: int) -> CalibrationAlarm | None:
        """Takes a lead record; returns the alarm that it opens."""
        if self.own is not None:
            self.own[bin_index_of(settled.millionths)].update(settled.millionths, settled.y)
        self.test.update(settled.millionths, settled.y, settled.created_at_ms)
        if self.alarm is None:
            for version in versions_of(settled):
                self._see(version)
            if self.test.alarm_n is not None:
                self.alarm = self._alarm(settled.settled_at_ms, threshold)
        return self.alarm if self.test.alarm_n == self.test.raw.n else None

    def _see(self, version: str) -> None:
        if version in self.versions:
            return
        if len(self.versions) >= VERSIONS_MAX:
            del self.versions[next(iter(self.versions))]
        self.versions[version] = None

    def _alarm(self, at_ms: int, threshold: int) -> CalibrationAlarm:
        self.alarm_count += 1
        named = direction(self.lead, recalibration(self.lead), threshold / UNIT)
        return CalibrationAlarm(
            **self.stream._asdict(),
            number=self.alarm_count,
            opened_at_ms=at_ms,
            n=self.test.raw.n,
            log_evidence_nanos=self.test.raw.log_nanos(),
            direction=cast(Any, named.on_average),
            direction_at_threshold=cast(Any, named.at_threshold),
            shape=cast(Any, named.shape),
            closed_at_ms=None,
            closed_by=None,
        )

    def closes(self, settled: Settled) -> ClosedBy | None:
        """What about a lead record closes the open alarm, if one is open."""
        if self.alarm is None:
            return None
        policy, *agent = versions_of(settled)
        if policy not in self.versions:
            return "policy"
        return "agent version" if agent and agent[0] not in self.versions else None

    def close(self, closed_by: ClosedBy, at_ms: int) -> CalibrationAlarm:
        """Closes the open alarm and begins a new test; the map in force stays under its own."""
        assert self.alarm, f"{self.stream}: no alarm is open"
        closed = replace(self.alarm, closed_at_ms=at_ms, closed_by=closed_by)
        epoch, self.test = self.test.epoch, MiscalibrationTest()
        self.test.epoch = epoch
        self.own, self.alarm, self.since_ms = ten_sums(), None, at_ms
        self.versions.clear()
        return closed


def versions_of(settled: Settled) -> list[str]:
    """The versions that made a record: of the policy, and of the agent where it says one.

    >>> versions_of(Settled(9, 5, 700_000, 1, "positive", True, "5d1f", agent_version="v2"))
    ['policy/5d1f', 'agent/v2']
    """
    policy = f"policy/{settled.policy_version}"
    agent = settled.agent_version
    return [policy] if agent is None else [policy, f"agent/{agent}"]


def ten_sums() -> list[Sums]:
    """The bins of nothing."""
    return [Sums() for _ in range(BIN_COUNT)]
