"""What each command must be allowed to do on the broker, and nothing else: from TOPICS and AGENTS.

The broker takes Read and Write for Describe too, so where a command has one of them Describe is
left out. A producer that may write to any topic may be idempotent, since Kafka 2.8.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from agents_topics import topics
from agents_topics.roster import AGENTS, CALIBRATOR, GROUP, RESOLVER, AgentRow
from agents_topics.topics import TOPICS

Operation = Literal["Read", "Write", "Create", "Delete", "Describe", "DescribeConfigs"]
Resource = Literal["topic", "group", "transactional-id"]

REDRIVE = "trueup-redrive"
"""The transactional id that all redrives share, so that one fences the other."""
DEMO, DOCTOR = "demo-", "doctor-"
"""What the names that a demo, and a doctor who tries, make up on the broker begin with."""


_MADE: tuple[Operation, ...] = ("Write", "Create", "Delete")


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One operation on one name, or on all names that begin so."""

    resource: Resource
    name: str
    operation: Operation
    is_prefix: bool = False

    def __str__(self) -> str:
        beginning = " beginning with" if self.is_prefix else ""
        return f"{self.operation} on {self.resource}{beginning} {self.name}"


def rights_of(command: str, prefix: str = "", agents: Sequence[AgentRow] = AGENTS) -> list[Right]:
    """The least that a command needs; `emit --settle` needs what `clock` does as well.

    >>> [str(right) for right in rights_of("clock", "live-")]
    ['Write on topic live-control']

    Args:
        command: One of `COMMANDS`.
        prefix: Of the installation's names.
        agents: Which of them a worker runs.
    """
    return _under(prefix, _worker(agents) if command == "worker" else _NEEDS[command]())


def rights_to_look(prefix: str = "") -> list[Right]:
    """What it takes to compare the topics with the contract; whoever does anything may do this."""
    return _under(prefix, _look())


def _under(prefix: str, rights: Iterable[Right]) -> list[Right]:
    return least(Right(r.resource, prefix + r.name, r.operation, r.is_prefix) for r in rights)


def least(rights: Iterable[Right]) -> list[Right]:
    """Each once and in order, without those that others imply."""
    wanted = set(rights)
    known_by = {(r.resource, r.name) for r in wanted if r.operation in ("Read", "Write", "Delete")}
    return sorted(
        right
        for right in wanted
        if right.operation != "Describe" or (right.resource, right.name) not in known_by
    )


def _worker(agents: Sequence[AgentRow]) -> Iterator[Right]:
    """Checks every topic; joins the group; each agent reads, and writes in its transactions."""
    yield from _look()
    yield Right("group", GROUP, "Read")
    for row in agents:
        yield from _topics("Read", row.reads)
        yield from _topics("Write", row.writes)
        yield from _topics("Read", row.writes[:1])  # whether a task without a changelog has a past
        if row.changelog:
            yield from _topics("Read", [row.changelog])
            yield from _topics("Write", [row.changelog])
            yield Right("transactional-id", row.transactional_ids, "Write", is_prefix=True)
        if row in (RESOLVER, CALIBRATOR):
            yield from _policy()


def _emit() -> Iterator[Right]:
    return _topics(
        "Write", (topics.AGENT_ACTIONS, topics.AGENT_INTERACTIONS, topics.AGENT_FEEDBACK)
    )


def _label() -> Iterator[Right]:
    return _topics("Write", (topics.AGENT_INTERACTIONS,))


def _clock() -> Iterator[Right]:
    return _topics("Write", (topics.CONTROL,))


def _policy() -> Iterator[Right]:
    yield from _topics("Read", (topics.POLICIES,))
    yield from _topics("Write", (topics.POLICIES,))


def _status() -> Iterator[Right]:
    yield from _topics("Describe", TOPICS)
    yield Right("group", GROUP, "Describe")
    yield from _topics("Read", (topics.DEAD_LETTERS, topics.OUTCOMES))
    for row in AGENTS:
        yield from _topics("Read", row.reads)
        yield from _topics("Read", [row.changelog] if row.changelog else [])


def _audit() -> Iterator[Right]:
    yield from _look()
    outputs = (topics.LATE_EVENTS, topics.DEAD_LETTERS, topics.FORGOTTEN, topics.OUTCOMES)
    changelogs = (topics.RESOLVER_CHANGELOG, topics.CALIBRATOR_CHANGELOG)
    yield from _topics("Read", (*RESOLVER.reads, *outputs, *changelogs))


def _explain() -> Iterator[Right]:
    kept = (topics.LATE_EVENTS, topics.DEAD_LETTERS, topics.OUTCOMES)
    yield from _topics("Read", (topics.AGENT_ACTIONS, topics.AGENT_INTERACTIONS, *kept))
    yield Right("group", GROUP, "Describe")


def _replay() -> Iterator[Right]:
    """Reads; writes to Postgres alone. A history's own topics are to be allowed beside these."""
    kept = (topics.LATE_EVENTS, topics.DEAD_LETTERS, topics.FORGOTTEN, topics.POLICIES)
    joined = (topics.AGENT_ACTIONS, topics.AGENT_INTERACTIONS)
    yield from _topics("Read", (*joined, *kept, topics.RESOLVER_CHANGELOG))
    # A shadow notes the last record of the outputs; the publisher must have written it by then.
    yield from _topics("Read", (topics.OUTCOMES, topics.CALIBRATION_UPDATES))
    yield Right("group", GROUP, "Describe")


def _dead_letters() -> Iterator[Right]:
    yield from _topics("Read", (*RESOLVER.reads, topics.DEAD_LETTERS, topics.REDRIVEN_LETTERS))


def _redrive() -> Iterator[Right]:
    yield from _dead_letters()
    yield from _topics("Read", (topics.RESOLVER_CHANGELOG,))
    yield from _topics("Write", (*RESOLVER.reads, topics.REDRIVEN_LETTERS))
    yield Right("transactional-id", REDRIVE, "Write")


def _forget() -> Iterator[Right]:
    """Looks at what there is; asks the tasks; looks whether they and the publisher have done it."""
    yield from _topics("Write", (topics.CONTROL,))
    kept = (topics.LATE_EVENTS, topics.DEAD_LETTERS, topics.FORGOTTEN, topics.RESOLVER_CHANGELOG)
    yield from _topics("Read", kept)
    told = (topics.OUTCOMES, topics.SETTLED_OUTCOMES, topics.CALIBRATION_UPDATES)
    yield from _topics("Describe", told)
    yield Right("group", GROUP, "Describe")


def _reset() -> Iterator[Right]:
    """Looks; then deletes what agents have written, makes it anew, and fences who may sleep."""
    yield from _topics("Describe", TOPICS)
    yield Right("group", GROUP, "Read")
    yield Right("group", GROUP, "Delete")
    for row in AGENTS:
        for topic in (*row.writes, *([row.changelog] if row.changelog else [])):
            yield Right("topic", topic.name, "Delete")
            yield Right("topic", topic.name, "Create")
        if row.changelog:
            yield Right("transactional-id", row.transactional_ids, "Write", is_prefix=True)


def _rebuild() -> Iterator[Right]:
    """Reads what tasks have read and said; makes and writes changelogs in their place."""
    yield from _topics("Describe", TOPICS)
    yield from _topics("Read", (topics.POLICIES,))
    yield from _topics("Write", (topics.CALIBRATION_UPDATES,))
    yield Right("group", GROUP, "Read")
    for row in AGENTS:
        if row.changelog:
            yield from _topics("Read", (*row.reads, *row.writes, row.changelog))
            for operation in _MADE:
                yield Right("topic", row.changelog.name, operation)
            yield Right("transactional-id", row.transactional_ids, "Write", is_prefix=True)


def _repartition() -> Iterator[Right]:
    """Reads what there is and what became of it; writes nothing here."""
    yield from _topics("Describe", TOPICS)
    inputs = (topics.AGENT_ACTIONS, topics.AGENT_INTERACTIONS, topics.AGENT_FEEDBACK)
    ledgers = (topics.LATE_EVENTS, topics.DEAD_LETTERS, topics.FORGOTTEN)
    yield from _topics("Read", (*inputs, *ledgers, topics.CONTROL, topics.POLICIES))
    yield from _topics("Read", (topics.RESOLVER_CHANGELOG, topics.CALIBRATION_UPDATES))
    yield Right("group", GROUP, "Describe")


def _repartitioned() -> Iterator[Right]:
    """Makes every topic under the new prefix, and writes what is copied; a copy that was cut short
    is looked at and deleted.
    """
    yield from _create()
    yield from _topics("Delete", TOPICS)
    inputs = (topics.AGENT_ACTIONS, topics.AGENT_INTERACTIONS, topics.AGENT_FEEDBACK)
    yield from _topics("Read", inputs)
    yield from _topics("Write", (*inputs, topics.CONTROL, topics.POLICIES))
    yield Right("group", GROUP, "Describe")


def _look() -> Iterator[Right]:
    yield from _topics("Describe", TOPICS)
    yield from _topics("DescribeConfigs", TOPICS)


def _check() -> Iterator[Right]:
    """Looks, and at the newest keys too: where their producer has put them."""
    yield from _look()
    yield from _topics("Read", (topics.AGENT_ACTIONS, topics.AGENT_INTERACTIONS))


def _create() -> Iterator[Right]:
    yield from _topics("Create", TOPICS)
    yield from _topics("Describe", TOPICS)


def _doctor() -> Iterator[Right]:
    yield from _look()
    yield from _topics("Read", TOPICS)


def _doctor_who_tries() -> Iterator[Right]:
    yield from _doctor()
    yield from _everything_beginning_with(DOCTOR, "Delete")


def _demo() -> Iterator[Right]:
    return _everything_beginning_with(DEMO, "DescribeConfigs")


def _everything_beginning_with(name: str, *more: Operation) -> Iterator[Right]:
    operations: tuple[Operation, ...] = ("Create", "Read", "Write", *more)
    for operation in operations:
        yield Right("topic", name, operation, is_prefix=True)
    yield Right("group", name, "Read", is_prefix=True)
    yield Right("transactional-id", name, "Write", is_prefix=True)


def _topics(operation: Operation, those: Iterable[topics.Topic]) -> Iterator[Right]:
    return (Right("topic", topic.name, operation) for topic in those)


_NEEDS: dict[str, Callable[[], Iterator[Right]]] = {
    "emit": _emit,
    "clock": _clock,
    "alarms-close": _clock,
    "thresholds-set": _clock,
    "thresholds-roll-back": _clock,
    "thresholds-release": _clock,
    "label": _label,
    "status": _status,
    "audit": _audit,
    "policy": _policy,
    "explain": _explain,
    "replay": _replay,
    "dead-letters": _dead_letters,
    "dead-letters-redrive": _redrive,
    "forget": _forget,
    "doctor": _doctor,
    "doctor-kafka": _doctor_who_tries,
    "reset": _reset,
    "rebuild": _rebuild,
    "repartition": _repartition,
    "repartitioned": _repartitioned,
    "topics-check": _check,
    "topics-create": _create,
    "demo": _demo,
}
COMMANDS = ("worker", *_NEEDS)
"""Commands that speak to the broker; what each needs is `rights_of` it."""


def lacking_in_words(user: str | None, rights: Sequence[Right]) -> str:
    """One sentence that names them.

    >>> lacking_in_words("ada", [Right("topic", "control", "Write")])
    'User ada lacks Write on topic control; `trueup acls` prints what to allow.'
    """
    who = f"User {user}" if user else "This user"
    told = ", ".join(map(str, rights))
    return f"{who} lacks {told}; `trueup acls` prints what to allow."
