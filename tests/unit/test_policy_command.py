"""`trueup policy` as its users see it, without a broker."""

import json

import pytest
from typer.testing import CliRunner

from agents_topics.policy_file import DEFAULT_POLICY_TOML, load_policy
from trueup.cli import command_line

OWN = """
[[version.tenants.acme.send_email]]
type = "email_engagement"
calibrates = true
window_hours = 48
attribution = "last"
signals = [{ kind = "reply_received", means = "positive" }]
"""
BEGIN = '[[version]]\neffective_from = "2026-02-01T00:00:00Z"'
LATER = DEFAULT_POLICY_TOML.replace("[[version]]", BEGIN)


@pytest.fixture
def policy(tmp_path, monkeypatch):
    """Runs `trueup policy …` in a folder with two files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRUEUP_POLICY", raising=False)
    named = DEFAULT_POLICY_TOML + OWN + '\n[tenants]\nacme = "uuid5"\n'
    (tmp_path / "old.toml").write_text(named)
    changed = named.replace("window_hours = 48", "window_hours = 36") + LATER
    (tmp_path / "new.toml").write_text(changed)

    def run(*words):
        found = CliRunner().invoke(command_line(["policy"]), ["policy", *words])
        return found.exit_code, found.stdout.splitlines()

    return run


def test_show_says_the_rules_in_words(policy):
    code, lines = policy("show", "old.toml", "--tenant", "acme")

    assert code == 0
    at = lines.index("  send_email, for acme alone")
    assert lines[at + 1 : at + 4] == [
        "    email_engagement: within 2 days; counts for the last action that it could count for",
        "      positive  reply_received",
        "      calibrates: expired counts as no success; success wanted in 70%; acts from 70%",
    ]
    assert (
        "      positive  reply_received, any kind with a rule with an interaction_count above the "
        "action's own"
    ) in lines


def test_show_at_a_time_is_the_version_of_then(policy):
    _, lines = policy("show", "new.toml", "--at", "2026-02-01T00:00:00Z", "--json")
    (version,) = json.loads("".join(lines))

    assert version["begins"] == "from 2026-02-01T00:00:00Z on"
    assert version["content"]["effective_from"] == "2026-02-01T00:00:00Z"


def test_a_file_that_is_not_named_is_the_default(policy):
    _, lines = policy("show")

    assert lines[0] == f"from the beginning ({load_policy(None).versions[0].digest})"


def test_diff_names_what_has_changed(policy):
    code, lines = policy("diff", "new.toml", "--against", "old.toml")

    assert code == 0
    assert lines[0] == "~ the version from the beginning"
    assert lines[1].endswith("send_email.email_engagement.window_hours: 48 -> 36")
    assert lines[2:] == ["+ the version from 2026-02-01T00:00:00Z on"]
    assert policy("diff", "old.toml", "--against", "old.toml") == (0, ["Nothing differs."])


def test_own_words_for_a_confidence_are_shown_and_compared(policy, tmp_path):
    worded = DEFAULT_POLICY_TOML.replace(
        "[[version]]", '[[version]]\nconfidence_labels = ["prototype", "sure"]'
    )
    (tmp_path / "plain.toml").write_text(DEFAULT_POLICY_TOML)
    (tmp_path / "worded.toml").write_text(worded)

    assert policy("show", "worded.toml")[1][1] == "  words for a confidence: prototype, sure"
    assert policy("diff", "worded.toml", "--against", "plain.toml")[1] == [
        "~ the version from the beginning", "    + confidence_labels = prototype, sure",
    ]  # fmt: skip


def test_check_says_that_a_file_is_good(policy):
    assert policy("check", "new.toml") == (
        0, ["Good: versions 2, action types 6, named tenants 1."],
    )  # fmt: skip


def test_a_time_that_is_none_is_a_usage_error(policy):
    assert policy("show", "--at", "yesterday")[0] == 2
