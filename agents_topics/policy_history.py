"""Which versions of a policy file agree with what was recorded: the past stays what it was."""

from collections.abc import Iterable

from agents_topics.events import PolicyRecord, to_ms
from agents_topics.policy import BEGINNING_OF_TIME_MS, Policy, PolicyVersion
from agents_topics.rules import FUTURE_MS_MAX


def record_of(version: PolicyVersion) -> PolicyRecord:
    """What is recorded of a version."""
    return PolicyRecord(
        digest=version.digest, effective_from=version.effective_from, content=version.content
    )


def changes_of_history(recorded: Iterable[PolicyRecord], policy: Policy, now_ms: int) -> list[str]:
    """Why a policy would judge events otherwise than they were; a sentence each.

    A version was in force once it has begun by the broker's clock, ten minutes ahead included. Such
    a version must stay as it was recorded. Whether a new one begins after every event that was
    judged only the tasks know, who refuse it by their events' times.
    """
    begun = {record.digest: record for record in recorded if _begins_ms(record) <= _judged(now_ms)}
    if not begun:
        return []
    own = {version.effective_from_ms: version for version in policy.versions}
    problems = []
    for digest, record in begun.items():
        if digest in policy.by_digest:
            continue
        version = own.pop(_begins_ms(record), None)
        if version is None:
            problems.append(
                f"the policy file lacks the version in force {_since(record)} ({digest}): give it "
                "back; another rule for the past is a shadow replay"
            )
        else:
            problems.append(
                f"{_place(policy, version)}: the version in force {_since(record)} was changed "
                f"(it was {digest}): give it back what it said, and let the change be a version of "
                "its own that begins later; another rule for the past is a shadow replay"
            )
    return problems


def _judged(now_ms: int) -> int:
    return now_ms + FUTURE_MS_MAX


def _begins_ms(record: PolicyRecord) -> int:
    return BEGINNING_OF_TIME_MS if record.effective_from is None else to_ms(record.effective_from)


def _since(record: PolicyRecord) -> str:
    return f"since {record.effective_from}" if record.effective_from else "since the beginning"


def _place(policy: Policy, version: PolicyVersion) -> str:
    return policy.places.get(version.digest, "the policy file")
