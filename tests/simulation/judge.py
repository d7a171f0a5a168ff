"""The judgement of a run: the workload's truth, the audit's own model, and what every log holds.

Each problem is a sentence; none means that the run was exact.
"""

import json
from collections import Counter, defaultdict
from datetime import UTC, datetime

from agents_topics.policy_file import parse_policy
from agents_topics.roster import CALIBRATOR, RESOLVER
from tests.simulation.judge_streams import stream_problems
from tests.simulation.workload import ACTIONS, CONTROL, INTERACTIONS, PARTITIONS
from trueup.audit import audit_logs
from trueup.audit.bins import BIN_SQL
from trueup.audit.comparing import OUTCOME_SQL
from trueup.audit.days import DAY_SQL
from trueup.audit.reading import Log

FATES = ("admitted", "ignored", "duplicate", "late", "dead")
AUDITED = (
    ACTIONS, INTERACTIONS, CONTROL, "late-events", "dead-letters", "outcomes", "forgotten",
    "outcome-resolver-changelog", "calibrator-changelog",
)  # fmt: skip
SUMS = ("n", "sp", "spp", "sy", "spy", "excluded_n", "excluded_sp", "excluded_spp")


def judge(world):
    """What is wrong with a run that has ended."""
    problems = list(world.problems)
    problems += [str(context.get("exception", context)) for context in world.loop.problems]
    problems += _outcome_problems(world)
    problems += _forgotten_problems(world)
    problems += _fate_problems(world)
    problems += _letter_problems(world)
    problems += _store_problems(world)
    problems += _offset_problems(world)
    problems += _calibration_problems(world)
    if not problems:
        problems += stream_problems(world)
    if not problems or all("drained" not in problem for problem in problems):
        problems += map(str, audited(world).differences)
    return problems


def _values(world, topic):
    """The committed values of a topic, partition by partition."""
    logs = [world.kafka.log(topic, partition) for partition in range(PARTITIONS)]
    return [json.loads(record.value) for log in logs for record in log.read(0)[0]]


def _key_of(outcome):
    return f"{outcome['tenant_id']}/{outcome['conversation_id']}"


def _name_of(outcome):
    return _key_of(outcome), outcome["action_id"], outcome["outcome_type"]


def _outcome_problems(world):
    """Each outcome has settled once, as its story has it, and is never said again."""
    truth, found = world.plan.workload.truth, {}
    for outcome in _values(world, "outcomes"):
        if "forget_id" in outcome:
            found = {name: one for name, one in found.items() if name[0] != _key_of(outcome)}
            continue
        name = _name_of(outcome)
        if name in found:
            yield f"{name}: said again after it had settled"
        if outcome["is_settled"]:
            found[name] = outcome
    for name in truth.keys() | found.keys():
        expected, outcome = truth.get(name), found.get(name)
        if expected is None or outcome is None:
            yield f"{name}: expected {expected}, found {outcome}"
            continue
        for fact in ("status", "decided_by", "score", "is_lead"):
            if outcome[fact] != getattr(expected, fact):
                yield f"{name}: {fact} {outcome[fact]!r}, expected {getattr(expected, fact)!r}"


def _forgotten_problems(world):
    """Each forgetting is recorded and told to readers once."""
    due = Counter(world.plan.workload.forgotten.keys())
    for topic in ("forgotten", "outcomes"):
        found = Counter(_key_of(one) for one in _values(world, topic) if "forget_id" in one)
        if found != due:
            yield f"{topic}: forgotten are {dict(found)}, expected {dict(due)}"


def _claims(world):
    """What late ledger and dead letters say, by the place they name."""
    claims = defaultdict(list)
    for late in _values(world, "late-events"):
        claims[late["topic"], late["partition"], late["offset"]].append("late")
    for partition in range(PARTITIONS):
        for letter in world.kafka.log("dead-letters", partition).read(0)[0]:
            claims[_place_of(letter)].append("dead")
    return claims


def _place_of(letter):
    told = {name: value.decode() for name, value in letter.headers}
    names = ("topic", "partition", "offset")
    topic, partition, offset = (told[f"__connect.errors.{name}"] for name in names)
    return topic, int(partition), int(offset)


def _fate_problems(world):
    """Every record has the one fate its story has for it; the five add up to the records sent."""
    claims = _claims(world)
    expected = defaultdict(Counter)
    for place, record in world.places.items():
        topic, partition, _ = place
        if record.fate != "aborted":
            expected[topic, partition][record.fate] += 1
        claimed = claims.pop(place, [])
        due = [record.fate] if record.fate in ("late", "dead") else []
        if claimed != due:
            yield f"{place} is {claimed}, expected {due}: {record}"
    for place, claimed in claims.items():
        yield f"{place} is {claimed}, and no such record was sent"
    for partition in range(PARTITIONS):
        progress = world.progress(RESOLVER, partition)
        for topic in (ACTIONS, INTERACTIONS):
            counts = progress.counts if progress else {}
            found = Counter({fate: counts.get(f"{topic}/{fate}", 0) for fate in FATES})
            if +found != expected[topic, partition]:
                due = dict(expected[topic, partition])
                yield f"{topic}[{partition}]: counted {dict(+found)}, expected {due}"


def _letter_problems(world):
    """A dead letter has its record's key and bytes."""
    for partition in range(PARTITIONS):
        for letter in world.kafka.log("dead-letters", partition).read(0)[0]:
            record = world.places.get(_place_of(letter))
            if record and (record.key, record.value) != (letter.key, letter.value):
                yield f"the letter of {record} has other bytes: {letter.key} {letter.value}"


def _store_problems(world):
    """The store has every committed record of its topics once, in the order of their logs."""
    for topic in ("outcomes", "calibration-updates"):
        for partition in range(PARTITIONS):
            log = world.kafka.log(topic, partition)
            expected = [(record.offset, record.value) for record in log.read(0)[0]]
            stored = [
                (one.offset, one.value)
                for one in world.sink.stored
                if (one.topic, one.partition) == (topic, partition)
            ]
            if stored != expected:
                places = [offset for offset, _ in stored], [offset for offset, _ in expected]
                yield f"{topic}[{partition}]: the store has {places[0]}, expected {places[1]}"


def _offset_problems(world):
    """What the group has committed is what was applied."""
    for row in (RESOLVER, CALIBRATOR):
        for partition in range(PARTITIONS):
            progress = world.progress(row, partition)
            for topic, applied in progress.offsets.items() if progress else ():
                offset = world.kafka.group_offsets.get((topic, partition), 0)
                if offset != applied and not world.forgot_offsets:
                    yield f"{topic}[{partition}]: the group has {offset}, applied is {applied}"


def _calibration_problems(world):
    """A bin's updates go on in the order of settling; the last ones add up to the settled ones."""
    last, entered = {}, Counter()
    for update in _values(world, "calibration-updates"):
        if "kind" in update:
            continue
        name = (update["tenant_id"], update["action_type"], update["bin_index"])
        name += (update["outcome_type"], update["confidence_source"])
        before = last.get(name)
        if before and before["last_settled_at_ms"] > update["last_settled_at_ms"]:
            yield f"{name}: entered out of the order of settling"
        if before and _count(before) >= _count(update):
            yield f"{name}: went from {_count(before)} to {_count(update)} outcomes"
        last[name] = update
    for update in last.values():
        entered.update(update["counts"])
    types = ("reply", "answer")
    truth = world.plan.workload.truth
    due = Counter(one.status for (_, _, type_), one in truth.items() if type_ in types)
    due.update(_counted_of_forgotten(world))
    if entered != due:
        yield f"in bins are {dict(entered)}, expected {dict(due)}"


def _counted_of_forgotten(world):
    """The statuses of what had settled when it was forgotten: that depends on the pace."""
    for entry in _values(world, "forgotten"):
        known = world.plan.workload.forgotten.get(_key_of(entry))
        if known and known[1] <= entry["settled_until_ms"]:
            yield known[0]


def _count(update):
    return update["all"]["n"] + update["all"]["excluded_n"]


def audited(world):
    """The product's own audit, over the logs and the store."""
    logs = {topic: {p: _log_of(world, topic, p) for p in range(PARTITIONS)} for topic in AUDITED}
    # No story has a label, nor a promotion.
    rows = defaultdict(list, {OUTCOME_SQL: _outcome_rows(world), BIN_SQL: _bin_rows(world)})
    rows[DAY_SQL] = _day_rows(world)
    return audit_logs(logs, world.policy, rows, parse_policy, world.grace_ms, world.idle_after_ms)


def _log_of(world, topic, partition):
    log = world.kafka.log(topic, partition)
    return Log(log.read(0)[0], log.stable_end)


def _last_stored(world, topic, key_of):
    stored = [json.loads(one.value) for one in world.sink.stored if one.topic == topic]
    return {key_of(value): value for value in stored}.values()


def _left_in_store(world):
    """The last of each outcome that nothing after it has forgotten."""
    left = {}
    for one in world.sink.stored:
        if one.topic != "outcomes":
            continue
        value = json.loads(one.value)
        if "forget_id" in value:
            left = {name: held for name, held in left.items() if name[0] != _key_of(value)}
        else:
            left[_name_of(value)] = value
    return left.values()


def _outcome_rows(world):
    """The rows that the audit asks of `outcome_records`."""
    times = ("created_at", "window_expires_at", "settled_at", "resolved_at")
    rows = []
    for outcome in _left_in_store(world):
        if outcome["is_settled"]:
            told = {"outcome_status": outcome["status"], "outcome_score": outcome["score"]}
            told["lineage"] = 0
            at = {name: datetime.fromtimestamp(outcome[f"{name}_ms"] / 1000, UTC) for name in times}
            rows.append(outcome | told | at)
    return rows


def _day_rows(world):
    """The rows that the audit asks of `calibration_days`: of a stream that was forgotten none."""
    held, names = {}, ("tenant_id", "action_type", "outcome_type", "window_ms", "confidence_source")
    days = ("bin_index", "action_day", "known_day")
    for one in world.sink.stored:
        if one.topic != "calibration-updates":
            continue
        update = json.loads(one.value)
        stream = tuple(map(update.get, names))
        if update.get("kind") == "day":
            held[stream, tuple(map(update.get, days))] = update
        elif "kind" not in update and update.get("counts") == {}:
            held = {key: told for key, told in held.items() if key[0] != stream}
    return [
        {name: update[name] for name in (*names, *days)}
        | {"record_set": record_set, "holds_earlier": False}
        | {name: str(update[record_set][name]) for name in SUMS}
        for update in held.values()
        for record_set in ("all", "lead")
    ]


def _bin_rows(world):
    """The rows that the audit asks of `calibration_stream_bins`."""
    names = ("tenant_id", "action_type", "outcome_type", "window_ms", "confidence_source",
             "bin_index")  # fmt: skip
    updates = _last_stored(
        world, "calibration-updates", lambda update: tuple(map(update.get, (*names, "kind")))
    )
    return [
        {name: update[name] for name in names}
        | {"record_set": record_set}
        | {name: str(update[record_set][name]) for name in SUMS}
        for update in updates
        if "kind" not in update
        for record_set in ("all", "lead")
    ]
