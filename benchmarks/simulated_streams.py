"""Actions whose outcomes take their time, from several resolver tasks into the calibrator."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from agents_topics.calibration import CalibrationAlarm
from agents_topics.events import Outcome, Promise
from agents_topics.label_rates import LabelRate
from agents_topics.policy_file import DEFAULT_POLICY_TOML, parse_policy
from benchmarks.simulated import Random, records
from tables.calibrator import Calibrator
from tables.lead_marks import LeadMarks
from tables.stream_records import Record

HOUR_MS = 3_600_000
WINDOW_MS = 24 * HOUR_MS
GRACE_MS = HOUR_MS
SOURCE = "judge"
SOURCES = 4
STEPS = 6
POLICY_TOML = DEFAULT_POLICY_TOML.replace("[[version]]", '[[version]]\nsegments = ["model"]', 1)
POLICY = parse_policy(POLICY_TOML, "validation.toml")
"""The default one; calibration is also told apart by model."""


class Place(NamedTuple):
    """Whose stream it is; the policy and the source of confidence are the same for all."""

    tenant_id: str
    action_type: str = "send_email"


class Played(NamedTuple):
    """An action with its outcome, and when a success was seen; `delay_ms` is 0 for a failure.

    `label` is what the agent said in the place of a number.
    """

    at_ms: int
    millionths: int
    y: int
    delay_ms: int
    conversation: int
    label: str | None = None

    @property
    def settled_at_ms(self) -> int:
        """When its window has closed."""
        return self.at_ms + WINDOW_MS

    @property
    def resolved_at_ms(self) -> int:
        """When its outcome is seen: a failure is one only where the window has closed."""
        return self.at_ms + (self.delay_ms if self.y else WINDOW_MS)


def single_actions(random: Random, shape: str, n: int, windows: float) -> list[Played]:
    """Calibrated actions over so many windows, each in a conversation of its own."""
    return played_over(random, records(random, shape, n), windows)


def played_over(random: Random, pairs: Sequence[tuple[int, int]], windows: float) -> list[Played]:
    """Confidences and outcomes as actions over so many windows, in their order."""
    n = len(pairs)
    at_ms = np.sort(random.integers(0, int(windows * WINDOW_MS), n)).tolist()
    delays_ms = (random.beta(1, 3, n) * WINDOW_MS).astype(int).tolist()
    return [
        Played(at, p, y, delay if y else 0, k)
        for k, ((p, y), at, delay) in enumerate(zip(pairs, at_ms, delays_ms, strict=True))
    ]


def follow_ups(random: Random, conversations: int, every_ms: int, most: int) -> list[Played]:
    """Agents that act again until they get a reply, and are right about each action.

    A reply comes after an exponential time: at each action, as long as there is none, the chance
    that one comes within a window is what it was at the first.
    """
    played = []
    for k, (p, _) in enumerate(records(random, "uniform", conversations)):
        began_ms = int(random.integers(0, 20 * WINDOW_MS))
        mean_ms = -WINDOW_MS / np.log1p(-p / 1e6)
        replied_ms = began_ms + int(random.exponential(mean_ms))
        for at_ms in range(began_ms, min(began_ms + most * every_ms, replied_ms + 1), every_ms):
            y = int(replied_ms < at_ms + WINDOW_MS)
            played.append(Played(at_ms, p, y, (replied_ms - at_ms) * y, k))
    return sorted(played)


def outcomes_of(place: Place, played: Sequence[Played]) -> Iterator[Outcome]:
    """What resolver tasks settle of a stream, lead records marked."""
    marks, (tenant_id, action_type) = LeadMarks({}), place
    for number, one in enumerate(sorted(played)):
        key, end_ms = f"{tenant_id}/{one.conversation}", one.settled_at_ms
        lead = (key, action_type, "email_engagement", WINDOW_MS, SOURCE)
        yield Outcome(
            id=f"{tenant_id}/{action_type}/{number}", tenant_id=tenant_id,
            conversation_id=str(one.conversation), action_id=action_id_of(number),
            action_type=action_type, outcome_type="email_engagement",
            predicted_confidence=None if one.label else one.millionths / 1e6,
            confidence_label=one.label, confidence_source=SOURCE, model=model_of(number),
            status="positive" if one.y else "expired", score=1.0 if one.y else None,
            signal_source="automatic", decided_by="reply" if one.y else None,
            created_at_ms=one.at_ms, window_expires_at_ms=end_ms, settled_at_ms=end_ms,
            resolved_at_ms=one.resolved_at_ms, known_at_ms=None, revision=0, is_settled=True,
            calibrates=True, is_lead=marks.take(lead, one.at_ms, end_ms), expired_counts=True,
            policy_version=POLICY.versions[0].digest,
        )  # fmt: skip


def action_id_of(number: int) -> str:
    """The id of a stream's action, in whose order those of one millisecond enter.

    >>> action_id_of(7)
    '000007'
    """
    return f"{number:06d}"


def model_of(number: int) -> str:
    """Which model took a stream's action: one of three, and each tenth one of its own, so that a
    long stream has more of them than are told apart.

    >>> [model_of(number) for number in (7, 8, 10, 20)]
    ['model-1', 'model-2', 'model-10', 'model-20']
    """
    return f"model-{number % 3 if number % 10 else number}"


def alarmed(random: Random, streams: Sequence[Sequence[Played]]) -> dict[str, int]:
    """After how many records a stream alarms; those that never do are left out."""
    outcomes = (
        outcome
        for number, played in enumerate(streams)
        for outcome in outcomes_of(Place(f"tenant {number}"), played)
    )
    told = told_of(random, outcomes).values()
    return {one.tenant_id: one.n for one in told if isinstance(one, CalibrationAlarm)}


def told_of(random: Random, outcomes: Iterable[Outcome]) -> dict[str, Record | LabelRate]:
    """What a calibrator tells at last under each key, its sources running ahead of each other."""
    calibrator, told = Calibrator(SOURCES, POLICY), dict[str, Record | LabelRate]()
    sources: list[list[Outcome]] = [[] for _ in range(SOURCES)]
    for outcome in outcomes:
        sources[int(outcome.conversation_id) % SOURCES].append(outcome)
    for own in sources:
        own.sort(key=lambda outcome: outcome.settled_at_ms)
    for source, own, until_ms in _in_turns(random, sources):
        for outcome in own:
            calibrator.on_settled(outcome)
        calibrator.on_promise(Promise(source=source, until_ms=until_ms))
        calibrator.enter()
        told.update(calibrator.finish().updates)
    assert not calibrator.waiting_count, "an outcome did not enter"
    return told


def _in_turns(
    random: Random, sources: Sequence[list[Outcome]]
) -> Iterator[tuple[int, list[Outcome], int]]:
    """Pieces of the sources, each in its own order, now one and now another far ahead; and up to
    which settle time nothing more will come of them.
    """
    last_ms = max(own[-1].settled_at_ms for own in sources if own)
    turns = random.permutation(np.repeat(np.arange(len(sources)), STEPS)).tolist()
    places, turns_of = [0] * len(sources), [0] * len(sources)
    for source in turns:
        turns_of[source] += 1
        own, begin = sources[source], places[source]
        until_ms = last_ms * turns_of[source] // STEPS
        places[source] = bisect_right(own, until_ms, key=lambda outcome: outcome.settled_at_ms)
        yield source, own[begin : places[source]], until_ms
