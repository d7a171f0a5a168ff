"""The policy file: what it may say, and a sentence with its line for what it may not."""

import re
from pathlib import Path

import pytest

from agents_topics.identifiers import tenant_id_of
from agents_topics.policy import PolicyProblem
from agents_topics.policy_file import load_policy, parse_policy
from tests.no_such_day import no_such_day

ACME = tenant_id_of("acme")
OTHER = "00000000-0000-4000-8000-000000000001"
RULES = """\
tenants_are = "listed"

[tenants]
acme = "uuid5"
globex = "00000000-0000-4000-8000-000000000001"

[[version]]

[version.confidence_sources]
send = "logprob"

[[version.action_types.send]]
type = "reply"
calibrates = true
window_hours = 24
signals = [
  { kind = "reply", means = "positive" },
]

[[version.tenants.acme.send]]
type = "reply"
calibrates = true
window_hours = 48
signals = [{ kind = "reply", means = "positive" }]

[[version.tenants.acme.call]]
type = "answer"
calibrates = true
window_hours = 1
target_success = 0.9
signals = []

[[version]]
effective_from = "2026-02-01T00:00:00Z"
confidence_labels = ["sure", "unsure"]

[[version.action_types.send]]
type = "reply"
calibrates = true
window_hours = 12
signals = [{ kind = "reply", means = "positive" }]
"""


def test_a_tenant_has_its_own_rules_in_the_place_of_everybodys():
    first, second = parse_policy(RULES).versions

    assert [rule.window_hours for rule in first.rules_of(ACME, "send")] == [48]
    assert [rule.window_hours for rule in first.rules_of(OTHER, "send")] == [24]
    assert first.rules_of(OTHER, "call") == ()
    assert first.action_types_of(ACME) == ["call", "send"]
    assert [rule.window_hours for rule in second.rules_of(ACME, "send")] == [12]


def test_tenants_have_the_uuid_that_is_written_or_the_one_of_their_name():
    policy = parse_policy(RULES)

    assert policy.tenants == {"acme": ACME, "globex": OTHER}
    assert policy.listed_tenants == {ACME, OTHER}
    assert parse_policy(RULES.replace('"listed"', '"open"')).listed_tenants is None


def test_a_confidence_has_the_source_that_its_event_states_or_the_policys():
    version = parse_policy(RULES).versions[0]

    assert version.source_of("send", "unknown") == "logprob"
    assert version.source_of("send", "judge") == "judge"
    assert version.source_of("call", "unknown") == "unknown"


def test_the_words_for_a_confidence_are_high_medium_and_low_or_the_versions_own():
    first, second = parse_policy(RULES).versions

    assert first.confidence_labels == ("high", "medium", "low")
    assert second.confidence_labels == ("sure", "unsure")
    assert '"confidence_labels":["sure","unsure"]' in second.content
    assert "confidence_labels" not in first.content


def test_targets_and_first_thresholds_are_70_percent_unless_said():
    version = parse_policy(RULES).versions[0]
    (send,), (call,) = version.rules_of(ACME, "send"), version.rules_of(ACME, "call")

    assert (send.target_success, send.first_threshold) == (0.7, 0.7)
    assert (call.target_success, call.first_threshold) == (0.9, 0.7)


def test_versions_are_found_again_in_the_file_by_their_digest():
    policy = parse_policy(RULES, "rules.toml")

    assert [policy.places[v.digest] for v in policy.versions] == [
        "rules.toml, line 7", "rules.toml, line 33",
    ]  # fmt: skip


def test_a_tenants_other_name_leaves_the_digest_as_it_is():
    renamed = RULES.replace('acme = "uuid5"', f'ajax = "{ACME}"').replace("acme.", "ajax.")

    assert [v.digest for v in parse_policy(renamed).versions] == [
        v.digest for v in parse_policy(RULES).versions
    ]


def test_the_policy_of_the_docs_is_a_good_one():
    page = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()
    (example,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    policy = parse_policy(example, "docs/policy.md")

    assert [v.effective_from for v in policy.versions] == [None, "2026-03-01T00:00:00Z"]
    assert policy.listed_tenants == set(policy.tenants.values())


def test_the_default_policy_is_what_it_was():
    (version,) = load_policy(None).versions

    assert version.digest == "77460050b111c461"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("window_hours = 24", "window_hours = 0", "line 15: version.0.action_types.send.0.window"),
        ("window_hours = 48", "window = 48", "line 20: .*window_hours: Field required"),
        ('{ kind = "reply", means = "positive" },\n]', '{ kind = "reply", means = "good" },\n]',
         "line 16: .*signals.0.means: Input should be 'positive', 'negative' or 'ambiguous'"),
        ('"listed"', '"closed"', "line 1: tenants_are"),
        ('acme = "uuid5"', 'acme = "UUID5"', "line 4: 'acme' needs its UUID"),
        ('acme = "uuid5"', f'acme = "{OTHER}"', "line 5: 'globex' has the UUID of another"),
        ("tenants.acme.call", "tenants.acne.call", "line 26: no tenant 'acne' in .tenants."),
        ("tenants.acme.call", f"tenants.{ACME}.call", "line 20: .*rules of its own twice"),
        ('send = "logprob"', 'sent = "logprob"', "line 10: .*has no action type 'sent'"),
        ('send = "logprob"', 'send = "mood"', "line 10: version.0.confidence_sources.send"),
        ("2026-02-01T00:00:00Z", "2026-02-31T00:00:00Z",
         f"line 34: effective_from: {no_such_day(2026, 2, 31)}"),
        ("2026-02-01T00:00:00Z", "2026-02-01", "line 34: version.1.effective_from: String should"),
        ("[[version]]\n\n", '[[version]]\neffective_from = "2026-01-01T00:00:00Z"\n',
         "line 8: the first version is in force from the beginning"),
        ('"answer"\ncalibrates = true', '"answer"', "line 26: call: exactly one outcome type"),
        ("window_hours = 12", "window_hours = 12 hours", "not TOML: .*line 40"),
        ("target_success = 0.9", "target_success = 90", "line 30: .*less than or equal to 1"),
        ('"sure", "unsure"', "", "line 35: version.1.confidence_labels: .*at least 1"),
        ('"sure", "unsure"', '"sure", "sure"', "line 35: confidence_labels lists 'sure' twice"),
        ('"sure", "unsure"', '"sure/unsure"', "line 35: version.1.confidence_labels.0: .*pattern"),
        ('["sure", "unsure"]', '"sure"', "line 35: version.1.confidence_labels: .*valid tuple"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_with_line_and_reason(old, new, told):
    assert RULES.count(old) == 1

    with pytest.raises(PolicyProblem, match=f"^rules.toml(, |: ){told}"):
        parse_policy(RULES.replace(old, new), "rules.toml")


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(PolicyProblem, match=r"none.toml: .*No such file"):
        load_policy(tmp_path / "none.toml")
