"""Admission of all partitions: what is read, judged, counted, and left over among the claims.

The first step is here: a record that breaks the contract, lies in a foreign partition, is from the
future or names what the policy does not know is a dead letter. `judging` does the rest.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from aiokafka import ConsumerRecord

from agents_topics.events import Action
from agents_topics.policy import PolicyVersion
from trueup.audit.claims import Claims, check_letter, read_claims, told
from trueup.audit.contract import Broken, Event, Forget, read_control, read_event
from trueup.audit.forgetting import Lives, check_entries, is_over
from trueup.audit.judging import Judge, Read
from trueup.audit.partitioning import partition_of
from trueup.audit.progress import NOTHING, Note
from trueup.audit.reading import CONTROL, DEAD_LETTERS, EMPTY, JOINED, LATE_EVENTS, Log, Logs
from trueup.audit.remembering import Remembered, Spans
from trueup.audit.report import AuditReport
from trueup.audit.rules import Rules
from trueup.audit.times import Clocks, First, TopicTime

INPUTS = (*JOINED, CONTROL)
FUTURE_MS_MAX = 600_000
CLASSES = ("admitted", "ignored", "duplicate", "late", "dead")
_NAMES = dict(zip(CLASSES, ("admitted", "ignored", "duplicates", "late", "dead letters"),
                  strict=True))  # fmt: skip

Admitted = dict[int, dict[str, list[Event]]]
"""By partition and topic."""


def classify(
    logs: Mapping[str, Logs],
    notes: Mapping[int, Sequence[Note]],
    lives: Lives,
    rules: Rules,
    report: AuditReport,
) -> Admitted:
    """The admitted events; every claim is checked, every applied record counted once."""
    claims = read_claims(logs, report)
    admitted: Admitted = defaultdict(dict)
    counts = {topic: Counter[str]() for topic in JOINED}
    waiting: Counter[str] = Counter()
    forgotten: Counter[str] = Counter()
    applied_controls = 0
    for partition in sorted({partition for topic in INPUTS for partition in logs[topic]}):
        own = {topic: logs[topic].get(partition, EMPTY) for topic in INPUTS}
        own_notes = notes.get(partition, ())
        last = own_notes[-1] if own_notes else NOTHING
        clocks, forgets = _check_control(partition, own[CONTROL], last, claims, report)
        check_entries(lives.of_partition(partition), forgets, own_notes, partition, report)
        applied_controls += len(clocks.written_ms) + len(forgets)
        read = {
            topic: _read(topic, partition, own[topic], own_notes, claims, rules) for topic in JOINED
        }
        spans: Spans = {}
        for topic, other in zip(JOINED, reversed(JOINED), strict=True):
            name = f"{topic}[{partition}]"
            time = TopicTime(name, topic, own_notes, clocks, _first(read[other]), rules, report)
            judge = Judge(
                topic, partition, own[topic].is_plain, time,
                Remembered(topic, spans, time, rules), claims, lives, rules, report,
            )  # fmt: skip
            admitted[partition][topic] = found = judge.all_of(read[topic])
            forgotten[topic] += sum(is_over(event.key) for event in found)
            _compare_counts(name, topic, judge.counts, last, report)
            counts[topic] += judge.counts
            waiting[topic] += len(own[topic].records) - len(read[topic])
    for place in claims.late:
        report.differ(told(place), LATE_EVENTS, "no applied record there", "an entry")
    for place in claims.dead:
        report.differ(told(place), DEAD_LETTERS, "no applied record there", "a letter")
    for topic in JOINED:
        by_name = {_NAMES[member]: counts[topic][member] for member in CLASSES}
        by_name["admitted"] -= forgotten[topic]
        told_beside = {"forgotten": forgotten[topic], "waiting": waiting[topic]}
        report.records[topic] = {**by_name, **told_beside}
    report.records[CONTROL] = {"applied": applied_controls}
    return admitted


def _applied(log: Log, topic: str, last: Note) -> list[ConsumerRecord]:
    return [record for record in log.records if record.offset < last.offsets.get(topic, 0)]


def _check_control(
    partition: int, log: Log, last: Note, claims: Claims, report: AuditReport
) -> tuple[Clocks, list[tuple[int, Forget]]]:
    """The clock and forget records that a task has applied; a bad one is a dead letter, a good one
    is not.
    """
    jumps, forgets = [], []
    for record in _applied(log, CONTROL, last):
        place = (CONTROL, partition, record.offset)
        entry, letter = claims.take(place)
        if entry is not None:
            report.differ(told(place), LATE_EVENTS, "no entry: a control record", "an entry")
        until = read_control(record.value)
        if isinstance(until, int) and until > record.timestamp + FUTURE_MS_MAX:
            until = Broken("future")
        if isinstance(until, Broken):
            check_letter(place, record, until, letter, report)
        elif letter is not None:
            report.differ(told(place), DEAD_LETTERS, "a good control record", letter.reason)
        elif isinstance(until, Forget):
            forgets.append((record.offset, until))
        elif until is not None:
            jumps.append((record.timestamp, until))
    return Clocks.of(jumps), forgets


def _read(
    topic: str, partition: int, log: Log, notes: Sequence[Note], claims: Claims, rules: Rules
) -> list[Read]:
    """The applied records with what the first step of admission finds in them."""
    read: list[Read] = []
    placed: dict[str, int] = {}
    for record in _applied(log, topic, notes[-1] if notes else NOTHING):
        found = read_event(topic, record.key, record.value, record.headers)
        if isinstance(found, Event):
            home = placed.get(found.key)
            if home is None:
                home = placed[found.key] = partition_of(found.key.encode(), rules.partition_count)
            letter = claims.dead.get((topic, partition, record.offset))
            found = _first_step(found, record, home == partition, rules)
            if letter and isinstance(found, Event):
                found = _unknown_then(found, letter.reason, _before(notes, topic, record), rules)
        read.append((record, found))
    return read


def _first_step(
    event: Event, record: ConsumerRecord, is_home: bool, rules: Rules
) -> Event | Broken:
    if not is_home:
        return Broken("wrong_partition")
    body, listed = event.body, rules.policy.listed_tenants
    if listed is not None and body.tenant_id not in listed:
        return Broken("unknown_tenant")
    if event.at > record.timestamp + FUTURE_MS_MAX:
        return Broken("future")
    if isinstance(body, Action):
        refused = _refused_by(rules.policy.version_at(event.at), body)
        return Broken(refused) if refused else event
    return event


def _refused_by(version: PolicyVersion, action: Action) -> str | None:
    """What a policy version does not know of an action."""
    if not version.rules_of(action.tenant_id, action.action_type, action.outcome_type):
        return "unknown_outcome_type" if action.outcome_type else "unknown_action_type"
    if action.confidence_label not in (None, *version.confidence_labels):
        return "unknown_confidence_label"
    return None


def _unknown_then(event: Event, claimed: str, before: Note, rules: Rules) -> Event | Broken:
    """A version may have been added since: its words were unknown to a file that lacked it.

    A refused record moves no time, so the version that knows it may begin before it. That the file
    had the version is sure once a note lists it; before that, what a letter says can be. Where the
    policy is another one, what the workers have refused stays refused.
    """
    if rules.is_replayed:
        return event if claimed in ("conflict", "conversation_full") else Broken(claimed)
    body, versions = event.body, rules.policy.versions
    if not isinstance(body, Action) or not claimed.startswith("unknown_"):
        return event
    in_force = versions.index(rules.policy.version_at(event.at))
    begun = max((n for n, v in enumerate(versions) if v.digest in before.policy), default=0)
    lacked = any(_refused_by(version, body) == claimed for version in versions[begun:in_force])
    return Broken(claimed) if lacked else event


def _before(notes: Sequence[Note], topic: str, record: ConsumerRecord) -> Note:
    """The last note of what was before a record."""
    count = bisect_right(notes, record.offset, key=lambda note: note.offsets.get(topic, 0))
    return notes[count - 1] if count else NOTHING


def _first(read: Sequence[Read]) -> First | None:
    """A topic's first record that moves the time."""
    for record, found in read:
        if isinstance(found, Event):
            return First(min(found.at, record.timestamp), record.timestamp)
    return None


def _compare_counts(
    name: str, topic: str, counts: Counter[str], last: Note, report: AuditReport
) -> None:
    """The worker has counted the same."""
    for member in CLASSES:
        found = last.counts.get(f"{topic}/{member}", 0)
        if found != counts[member]:
            report.differ(f"{name}, {_NAMES[member]}", "changelog", counts[member], found)
