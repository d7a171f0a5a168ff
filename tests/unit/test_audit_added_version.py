"""A type that the policy knows by now was unknown once; a letter may say so until a note tells."""

import pytest

from agents_topics.events import to_timestamp
from agents_topics.policy_file import DEFAULT_POLICY_TOML, parse_policy
from tests.ledger import ACTIONS, BROKER, HOUR, START, Ledger

ADDED = f"""
[[version]]
effective_from = "{to_timestamp(START + HOUR)}"
[[version.action_types.fax]]
type = "answer"
calibrates = true
window_hours = 24
signals = [{{ kind = "reply_received", means = "positive" }}]
"""
POLICY = parse_policy(DEFAULT_POLICY_TOML + ADDED)
OLD, NEW = (version.digest for version in POLICY.versions)


def ledger(begun, action_type="fax"):
    """An action refused as unknown, after a note of the versions that had begun by then."""
    it = Ledger()
    it.action("a1", START, BROKER)
    it.note(BROKER + 1, policy=begun)
    it.action("a2", START + 2 * HOUR, BROKER + 2, "dead", action_type=action_type)
    it.log_ms[ACTIONS] = START
    it.letter(ACTIONS, 1, "unknown_action_type")
    it.note(BROKER + 3, policy=[OLD])
    return it


def test_the_letter_holds_where_the_version_can_have_been_added_later():
    assert ledger([OLD]).audit(POLICY).differences == []


def test_the_letter_is_false_where_a_note_before_it_has_the_version():
    found = ledger([OLD, NEW]).audit(POLICY).differences

    assert ("agent-actions[0]@1", "dead-letters") in [(one.what, one.where) for one in found]


def test_a_type_that_every_version_knows_was_never_unknown():
    both = parse_policy(DEFAULT_POLICY_TOML + ADDED.replace("fax", "send_email"))

    found = ledger([OLD], "send_email").audit(both).differences

    assert ("agent-actions[0]@1", "dead-letters") in [(one.what, one.where) for one in found]


def test_the_letter_of_a_word_holds_where_the_version_can_have_been_added_later():
    added = ADDED.replace("\n[[version.act", '\nconfidence_labels = ["certain"]\n[[version.act', 1)
    policy = parse_policy(DEFAULT_POLICY_TOML + added.replace("fax", "send_email"))
    it = Ledger()
    it.action("a1", START, BROKER)
    it.note(BROKER + 1, policy=[OLD])
    it.action("a2", START + 2 * HOUR, BROKER + 2, "dead", confidence_label="certain")
    it.log_ms[ACTIONS] = START
    it.letter(ACTIONS, 1, "unknown_confidence_label")
    it.note(BROKER + 3, policy=[OLD])

    assert it.audit(policy).differences == []


@pytest.mark.parametrize("reason", ["conflict", "unknown_outcome_type"])
def test_another_reason_is_no_excuse(reason):
    it = ledger([OLD])
    it.drop("dead-letters", 0)
    it.letter(ACTIONS, 1, reason)

    assert it.audit(POLICY).differences
