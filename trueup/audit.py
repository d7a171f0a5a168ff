"""The audit: every outcome and bin recomputed from the raw topics, by code of its own.

It shares nothing with the product's core: it reads whole logs into lists and applies the rules of
docs/semantics.md the slow way. Late events and dead letters are taken as claims and checked; what
comes out is compared with the topic `outcomes`, the changelogs and Postgres, and every difference
is named.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from agents_topics.codec import Decoded, Decoder
from agents_topics.connection import Connection
from agents_topics.events import STAGE_RANKS, Action, Interaction
from agents_topics.policy import OutcomeRule, Policy

FetchRows = Callable[[str], Awaitable[list[dict[str, Any]]]]
TOLD_MAX = 20
FUTURE_MS_MAX = 600_000
INPUTS = {"agent-actions": Action, "agent-interactions": Interaction}
_OURS = ("late-events", "dead-letters", "outcomes", "outcome-resolver-changelog",
         "calibrator-changelog")  # fmt: skip
_ERRORS = "__connect.errors."
_SUMS = ("n", "sp", "spp", "sy", "spy", "excluded_n", "excluded_sp", "excluded_spp")
_OUTCOME_SQL = """
    SELECT id::text, tenant_id::text, conversation_id, action_id, outcome_type, outcome_status,
           outcome_score, signal_source, decided_by, is_lead, policy_version,
           created_at, window_expires_at, settled_at, resolved_at
    FROM tenant.outcome_records WHERE is_settled
"""
_BIN_SQL = """
    SELECT tenant_id::text, action_type, outcome_type, window_ms, confidence_source, bin_index,
           record_set, n::text, sp::text, spp::text, sy::text, spy::text, excluded_n::text,
           excluded_sp::text, excluded_spp::text
    FROM tenant.calibration_stream_bins
"""

Place = tuple[str, int, int]
"""Topic, partition, offset of an input record."""
Name = tuple[str, str, str]
"""Conversation key, action_id, outcome type."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as the topics say it must be."""

    what: str
    where: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.what}: {self.where} has {self.found}, the topics say {self.expected}"


@dataclass(slots=True)
class AuditReport:
    """What was counted and every difference that was found."""

    records: dict[str, dict[str, int]] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    open: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def is_exact(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """All of it in plain values."""
        return {**asdict(self), "is_exact": self.is_exact}

    def __str__(self) -> str:
        lines = [
            f"{topic}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items())
            for topic, counts in self.records.items()
        ]
        settled = ", ".join(f"{count:,} {name}" for name, count in self.outcomes.items())
        lines.append(f"settled: {settled}; {self.open:,} open")
        lines += [str(difference) for difference in self.differences[:TOLD_MAX]]
        if len(self.differences) > TOLD_MAX:
            lines.append(f"… and {len(self.differences) - TOLD_MAX:,} more (--json tells all)")
        lines.append("exact" if self.is_exact else f"NOT EXACT: {len(self.differences):,} differ")
        return "\n".join(lines)

    def differ(self, what: str, where: str, expected: object, found: object) -> None:
        """Notes a difference."""
        self.differences.append(Difference(what, where, str(expected), str(found)))


@dataclass(frozen=True, slots=True)
class Admitted:
    """An admitted event with its time and key."""

    key: str
    at: int
    event: Any


async def audit(
    connection: Connection, policy: Policy, fetch_rows: FetchRows, grace_ms: Mapping[str, int]
) -> AuditReport:
    """Recomputes from the topics and compares with `outcomes`, the changelogs and Postgres."""
    logs = await _read_all(
        connection,
        (*INPUTS, *_OURS),
    )
    report = AuditReport()
    admitted = classify(logs, policy, grace_ms, report)
    as_of = {
        partition: min(max(log, pushed) - grace_ms[topic]
                       for topic, (log, pushed, *_) in progress["times"].items())
        for partition, progress in _progress(logs["outcome-resolver-changelog"]).items()
    }  # fmt: skip
    promised = [
        min(progress["promises"].values())
        for progress in _progress(logs["calibrator-changelog"]).values()
    ]
    settled, open_names = settle(admitted, policy, as_of)
    report.outcomes = dict(Counter(outcome["status"] for outcome in settled.values()))
    report.open = len(open_names)
    _compare_topic(logs["outcomes"], settled, report)
    _compare_changelog(logs["outcome-resolver-changelog"], open_names, report)
    _compare_rows(await fetch_rows(_OUTCOME_SQL), settled, report)
    entered_ms = min(promised, default=-(2**62))
    bins = bins_of(o for o in settled.values() if o["settled_at"] <= entered_ms)
    _compare_bins(_bins_of_rows(await fetch_rows(_BIN_SQL)), bins, "Postgres", report)
    _compare_bins(_bins_of_changelog(logs["calibrator-changelog"]), bins, "changelog", report)
    return report


# ---- reading -------------------------------------------------------------------------------------


async def _read_all(
    connection: Connection, topics: Iterable[str]
) -> dict[str, dict[int, list[ConsumerRecord]]]:
    """Every committed record of the topics, by topic and partition."""
    names = {topic: connection.topic(topic) for topic in topics}
    counts = await _partition_counts(connection, list(names.values()))
    reader = AIOKafkaConsumer(
        **connection.client_options(),
        isolation_level="read_committed",
        enable_auto_commit=False,
        fetch_max_wait_ms=20,
        max_partition_fetch_bytes=8 << 20,
    )
    await reader.start()
    try:
        return {
            topic: {
                partition: await _read(reader, TopicPartition(name, partition))
                for partition in range(counts[name])
            }
            for topic, name in names.items()
        }
    finally:
        await reader.stop()


async def _partition_counts(connection: Connection, names: list[str]) -> dict[str, int]:
    admin = AIOKafkaAdminClient(**connection.client_options())
    await admin.start()
    try:
        described = await admin.describe_topics(names)
        return {topic["topic"]: len(topic["partitions"]) for topic in described}
    finally:
        await admin.close()


async def _read(reader: AIOKafkaConsumer, tp: TopicPartition) -> list[ConsumerRecord]:
    end = (await reader.end_offsets([tp]))[tp]
    reader.assign([tp])
    await reader.seek_to_beginning(tp)
    records: list[ConsumerRecord] = []
    while await reader.position(tp) < end:
        fetched = await reader.getmany(tp, timeout_ms=50, max_records=50_000)
        records += (record for record in fetched.get(tp, ()) if record.offset < end)
    return records


def _progress(log: Mapping[int, list[ConsumerRecord]]) -> dict[int, Any]:
    """The last progress of each task."""
    return {
        partition: msgspec.msgpack.Decoder(dict[Any, Any], strict=False).decode(record.value)
        for partition, records in log.items()
        for record in [r for r in records if r.key == b"p"][-1:]
    }


def _last_rows(log: Mapping[int, list[ConsumerRecord]], kind: bytes) -> list[Any]:
    rows: dict[tuple[int, bytes], bytes | None] = {}
    for partition, records in log.items():
        for record in records:
            if record.key.startswith(kind):
                rows[partition, record.key] = record.value
    return [msgspec.msgpack.decode(value) for value in rows.values() if value is not None]


# ---- admission, checked --------------------------------------------------------------------------


def classify(
    logs: Mapping[str, Mapping[int, list[ConsumerRecord]]],
    policy: Policy,
    grace_ms: Mapping[str, int],
    report: AuditReport,
) -> dict[int, dict[str, list[Admitted]]]:
    """The admitted events by partition and topic; every record is in exactly one class."""
    claims = _Claims(_late_claims(logs["late-events"], report), {}, report)
    claims.dead = _dead_claims(logs["dead-letters"], report)
    progress = _progress(logs["outcome-resolver-changelog"])
    admitted: dict[int, dict[str, list[Admitted]]] = defaultdict(lambda: defaultdict(list))
    for topic, event_type in INPUTS.items():
        kinds = policy.kinds if topic == "agent-interactions" else None
        counts: Counter[str] = Counter()
        for partition, records in logs[topic].items():
            applied = progress[partition]["offsets"].get(topic, 0) if partition in progress else 0
            taken = [record for record in records if record.offset < applied]
            places = [(topic, partition, record.offset) for record in taken]
            decoder = Decoder(event_type)
            events = [decoder.decode(record.key, record.value) for record in taken]
            admitted[partition][topic] = _admitted_of(
                list(zip(places, taken, events, strict=True)),
                grace_ms[topic], kinds, claims, counts,
            )  # fmt: skip
        report.records[topic] = dict(counts)
    for place in [*claims.late, *claims.dead]:
        if place[0] in INPUTS:
            report.differ(f"{place}", "late-events or dead-letters", "no such claim", "a claim")
    return admitted


@dataclass(slots=True)
class _Claims:
    """What the late ledger and the dead letters say, until a record is found for it."""

    late: dict[Place, Any]
    dead: dict[Place, tuple[str, ConsumerRecord]]
    report: AuditReport


def _admitted_of(
    log: list[tuple[Place, ConsumerRecord, Any]],
    grace_ms: int,
    kinds: frozenset[str] | None,
    claims: _Claims,
    counts: Counter[str],
) -> list[Admitted]:
    """One partition's log, record after record; `kinds` are those that some rule listens to."""
    admitted: list[Admitted] = []
    seen: dict[tuple[str, str], Any] = {}
    log_ms: int | None = None
    for place, record, decoded in log:
        letter = claims.dead.pop(place, None)
        if letter is not None:
            counts["dead letters"] += 1
            _check_letter(place, record, decoded, letter, claims.report)
            if letter[0] not in ("conflict", "conversation_full"):
                continue
        if not isinstance(decoded, Decoded):
            claims.report.differ(f"{place}", "dead-letters", "a dead letter", "nothing")
            continue
        is_behind = log_ms is not None and decoded.at_ms + grace_ms <= log_ms
        capped_ms = min(decoded.at_ms, record.timestamp)
        log_ms = capped_ms if log_ms is None else max(log_ms, capped_ms)
        if letter is not None:
            continue
        claim = claims.late.pop(place, None)
        if is_behind != (claim is not None and claim["reason"] == "behind"):
            claims.report.differ(f"{place}", "late-events", f"behind: {is_behind}", claim)
        name = (decoded.key, decoded.event.event_id)
        if claim is not None:
            counts["late"] += 1
        elif kinds is not None and decoded.event.kind not in kinds:
            counts["ignored"] += 1
        elif name in seen and seen[name] == decoded.event:
            counts["duplicates"] += 1
        else:
            counts["admitted"] += 1
            seen[name] = decoded.event
            admitted.append(Admitted(decoded.key, decoded.at_ms, decoded.event))
    return admitted


def _late_claims(log: Mapping[int, list[ConsumerRecord]], report: AuditReport) -> dict[Place, Any]:
    claims: dict[Place, Any] = {}
    for records in log.values():
        for record in records:
            claim = json.loads(record.value)
            place = (claim["topic"], claim["partition"], claim["offset"])
            if place in claims:
                report.differ(f"{place}", "late-events", "one claim", "two")
            claims[place] = claim
    return claims


def _dead_claims(
    log: Mapping[int, list[ConsumerRecord]], report: AuditReport
) -> dict[Place, tuple[str, ConsumerRecord]]:
    claims: dict[Place, tuple[str, ConsumerRecord]] = {}
    for records in log.values():
        for record in records:
            told = {name: value.decode() for name, value in record.headers}
            place = (
                told[f"{_ERRORS}topic"],
                int(told[f"{_ERRORS}partition"]),
                int(told[f"{_ERRORS}offset"]),
            )
            if place in claims:
                report.differ(f"{place}", "dead-letters", "one letter", "two")
            claims[place] = (told[f"{_ERRORS}exception.class.name"], record)
    return claims


def _check_letter(
    place: Place,
    record: ConsumerRecord,
    decoded: Any,
    letter: tuple[str, ConsumerRecord],
    report: AuditReport,
) -> None:
    reason, copy = letter
    is_pointer = any(name == "trueup.pointer" for name, _ in copy.headers)
    if copy.key != record.key or (copy.value != record.value and not is_pointer):
        report.differ(f"{place}", "dead-letters", "the same bytes", "other bytes")
    if not isinstance(decoded, Decoded) and decoded.reason != reason:
        report.differ(f"{place}", "dead-letters", decoded.reason, reason)
    is_future = isinstance(decoded, Decoded) and (decoded.at_ms > record.timestamp + FUTURE_MS_MAX)
    if is_future != (reason == "future"):
        report.differ(f"{place}", "dead-letters", f"future: {is_future}", reason)


# ---- the law -------------------------------------------------------------------------------------


def settle(
    admitted: Mapping[int, Mapping[str, list[Admitted]]], policy: Policy, as_of: Mapping[int, int]
) -> tuple[dict[Name, dict[str, Any]], set[Name]]:
    """Every settled outcome by name, and the names of those still open."""
    settled: dict[Name, dict[str, Any]] = {}
    open_names: set[Name] = set()
    for partition, topics in admitted.items():
        by_key: dict[str, list[Admitted]] = defaultdict(list)
        for interaction in topics["agent-interactions"]:
            by_key[interaction.key].append(interaction)
        actions_of: dict[str, list[Admitted]] = defaultdict(list)
        for action in topics["agent-actions"]:
            actions_of[action.key].append(action)
        for key, actions in actions_of.items():
            for action in actions:
                version = policy.version_at(action.at)
                for rule in version.rules_of(action.event.action_type, action.event.outcome_type):
                    name = (key, _action_id(action.event), rule.type)
                    outcome = _decide(action, rule, actions, by_key[key], policy)
                    outcome["policy_version"] = version.digest
                    if outcome["settled_at"] <= as_of.get(partition, -(2**62)):
                        settled[name] = outcome
                    else:
                        open_names.add(name)
    _mark_leads(settled)
    return settled, open_names


def _action_id(event: Action) -> str:
    return event.action_id or event.event_id


def _decide(
    action: Admitted,
    rule: OutcomeRule,
    actions: list[Admitted],
    interactions: list[Admitted],
    policy: Policy,
) -> dict[str, Any]:
    event = action.event
    end = action.at + rule.window_hours * 3_600_000
    settled_at = action.at + max(rule.window_hours, rule.label_window_hours) * 3_600_000
    outcome: dict[str, Any] = {
        "status": "expired",
        "score": None,
        "signal_source": "automatic",
        "decided_by": None,
        "resolved_at": end,
        "created_at": action.at,
        "window_expires_at": end,
        "settled_at": settled_at,
        "calibrates": rule.calibrates,
        "expired_counts": rule.confidence_means == "success_in_window",
        "confidence": event.predicted_confidence,
        "stream": (event.tenant_id, event.action_type, rule.type, rule.window_hours * 3_600_000,
                   event.confidence_source),
    }  # fmt: skip
    labels = [
        i
        for i in interactions
        if i.event.kind == "human_label"
        and i.event.label
        and i.event.action_id == _action_id(event)
        and action.at <= i.at < settled_at
    ]
    if labels:
        last = max(labels, key=lambda i: (i.at, i.event.event_id))
        score = (last.event.metadata or {}).get("score")
        if score is None:
            score = {"positive": 1.0, "negative": 0.0}.get(last.event.label)
        outcome.update(status=last.event.label, score=score, signal_source="human_label",
                       decided_by=last.event.event_id, resolved_at=last.at)  # fmt: skip
        return outcome
    signals = [
        (i.at, i.event.event_id, meant, i.event.deal_stage)
        for i in interactions
        if action.at <= i.at < end and (meant := _meant(i.event, event, rule))
        and (rule.attribution != "last" or _takes(i, action, rule.type, actions, policy))
    ]  # fmt: skip
    if not signals:
        return outcome
    first_at = min(at for at, *_ in signals)
    decisive = sorted(signal for signal in signals if signal[0] == first_at)
    meanings = {meaning for _, _, meant, _ in decisive for meaning in meant}
    status = meanings.pop() if len(meanings) == 1 else "ambiguous"
    own = STAGE_RANKS.get(event.deal_stage or "")
    ranks = [STAGE_RANKS[s] for _, _, m, s in signals if s in STAGE_RANKS and "positive" in m]
    score = {"positive": 1.0, "negative": 0.0}.get(status)
    if status == "positive" and rule.score == "stages" and ranks and own is not None and own < 5:
        score = (max(ranks) - own) / (5 - own)
    outcome.update(status=status, score=score, decided_by=decisive[0][1], resolved_at=first_at)
    return outcome


def _meant(interaction: Interaction, action: Action, rule: OutcomeRule) -> tuple[str, ...]:
    """What an interaction means by the rule's signals; sorted, empty where it means nothing."""
    if interaction.kind == "human_label":
        return ()
    if interaction.action_id not in (None, _action_id(action)):
        return ()
    if rule.attribution == "direct" and interaction.action_id is None:
        return ()
    own = STAGE_RANKS.get(action.deal_stage or "", 99)
    counts = (interaction.interaction_count, action.interaction_count)
    holds = {
        "always": True,
        "stage_above": STAGE_RANKS.get(interaction.deal_stage or "", -1) > own,
        "stage_lost": interaction.deal_stage in ("closed_lost", "stalled"),
        "count_above": counts[0] is not None and counts[1] is not None and counts[0] > counts[1],
    }
    meant = {s.means for s in rule.signals if s.kind in ("*", interaction.kind) and holds[s.when]}
    return tuple(sorted(meant))


def _takes(
    interaction: Admitted,
    action: Admitted,
    outcome_type: str,
    actions: list[Admitted],
    policy: Policy,
) -> bool:
    """Attribution `last`: no later action takes the interaction."""
    rivals = [
        (other.at, _action_id(other.event))
        for other in actions
        for rule in policy.version_at(other.at).rules_of(
            other.event.action_type, other.event.outcome_type
        )
        if rule.type == outcome_type
        and other.at <= interaction.at < other.at + rule.window_hours * 3_600_000
        and _meant(interaction.event, other.event, rule)
    ]
    return max(rivals) == (action.at, _action_id(action.event))


def _mark_leads(settled: Mapping[Name, dict[str, Any]]) -> None:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for (key, action_id, _), outcome in settled.items():
        order = (outcome["settled_at"], outcome["created_at"], action_id)
        groups[key, outcome["stream"]].append((order, outcome))
    for members in groups.values():
        end = None
        for _, outcome in sorted(members, key=lambda member: member[0]):
            outcome["is_lead"] = end is None or outcome["created_at"] >= end
            end = outcome["window_expires_at"] if outcome["is_lead"] else end


def bins_of(outcomes: Iterable[dict[str, Any]]) -> dict[Any, list[int]]:
    """Sums by (stream, bin, set) in millionths."""
    bins: dict[Any, list[int]] = {}
    for outcome in outcomes:
        if not outcome["calibrates"]:
            continue
        p = int(outcome["confidence"] * 1_000_000 + 0.5)
        y = {"positive": 1, "negative": 0}.get(outcome["status"])
        if outcome["status"] == "expired" and outcome["expired_counts"]:
            y = 0
        row = [0, 0, 0, 0, 0, 1, p, p * p] if y is None else [1, p, p * p, y, p * y, 0, 0, 0]
        for record_set in ("all", "lead") if outcome["is_lead"] else ("all",):
            key = (outcome["stream"], min(p // 100_000, 9), record_set)
            bins[key] = [a + b for a, b in zip(bins.get(key, [0] * 8), row, strict=True)]
    return bins


# ---- comparing -----------------------------------------------------------------------------------

_FIELDS = ("status", "score", "signal_source", "decided_by", "is_lead", "policy_version",
           "created_at", "window_expires_at", "settled_at", "resolved_at")  # fmt: skip


def _compare(
    found: Mapping[Name, Mapping[str, Any]],
    settled: Mapping[Name, Mapping[str, Any]],
    where: str,
    report: AuditReport,
) -> None:
    for name, expected in settled.items():
        what = f"action {name[1]} ({name[2]}) of {name[0]}"
        row = found.get(name)
        if row is None:
            report.differ(what, where, f"settled as {expected['status']}", "nothing")
            continue
        for fact in _FIELDS:
            if row[fact] != expected[fact]:
                report.differ(f"{what}, {fact}", where, expected[fact], row[fact])
    for name in found.keys() - settled.keys():
        report.differ(f"action {name[1]} ({name[2]}) of {name[0]}", where, "open", "settled")


def _compare_topic(
    log: Mapping[int, list[ConsumerRecord]], settled: Mapping[Name, Any], report: AuditReport
) -> None:
    found: dict[Name, dict[str, Any]] = {}
    for records in log.values():
        for record in records:
            event = json.loads(record.value)
            if not event["is_settled"]:
                continue
            key = f"{event['tenant_id']}/{event['conversation_id']}"
            name = (key, event["action_id"], event["outcome_type"])
            if name in found:
                report.differ(f"action {name[1]} of {key}", "outcomes", "settled once", "twice")
            found[name] = {fact: event.get(fact, event.get(f"{fact}_ms")) for fact in _FIELDS}
    _compare(found, settled, "the topic outcomes", report)


def _compare_rows(
    rows: list[dict[str, Any]], settled: Mapping[Name, Any], report: AuditReport
) -> None:
    found = {}
    for row in rows:
        name = (
            f"{row['tenant_id']}/{row['conversation_id']}",
            row["action_id"],
            row["outcome_type"],
        )
        row["status"], row["score"] = row["outcome_status"], row["outcome_score"]
        for fact in _FIELDS[-4:]:
            row[fact] = _ms(row[fact])
        found[name] = row
    _compare(found, settled, "Postgres", report)


def _ms(at: datetime | None) -> int | None:
    return None if at is None else (at - _EPOCH) // timedelta(milliseconds=1)


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")


def _compare_changelog(
    log: Mapping[int, list[ConsumerRecord]], open_names: set[Name], report: AuditReport
) -> None:
    held = {
        (row[0], row[1], outcome_type)
        for row in _last_rows(log, b"a/")
        for outcome_type, _, is_settled, _ in row[-1]
        if not is_settled
    }
    for name in held ^ open_names:
        expected, found = ("open", "nothing") if name in open_names else ("settled", "open")
        report.differ(f"action {name[1]} ({name[2]}) of {name[0]}", "changelog", expected, found)


def _bins_of_rows(rows: list[dict[str, Any]]) -> dict[Any, list[int]]:
    return {
        (
            (row["tenant_id"], row["action_type"], row["outcome_type"], row["window_ms"],
             row["confidence_source"]),
            row["bin_index"],
            row["record_set"],
        ): [int(row[name]) for name in _SUMS]
        for row in rows
    }  # fmt: skip


def _bins_of_changelog(log: Mapping[int, list[ConsumerRecord]]) -> dict[Any, list[int]]:
    return {
        (tuple(row[0]), row[1], record_set): list(map(int, sums))
        for row in _last_rows(log, b"b/")
        for record_set, sums in (("all", row[2]), ("lead", row[3]))
    }


def _compare_bins(
    found: Mapping[Any, list[int]],
    expected: Mapping[Any, list[int]],
    where: str,
    report: AuditReport,
) -> None:
    for key in found.keys() | expected.keys():
        left, right = expected.get(key, [0] * 8), found.get(key, [0] * 8)
        if left != right:
            stream, index, record_set = key
            what = f"bin {index} ({record_set}) of {'/'.join(map(str, stream))}"
            report.differ(
                what,
                where,
                dict(zip(_SUMS, left, strict=True)),
                dict(zip(_SUMS, right, strict=True)),
            )
