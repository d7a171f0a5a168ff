"""`trueup explain` tells what decided an action, by which rule, and why the others did not."""

import asyncio
import json

import pytest
import typer
from typer.testing import CliRunner

from tests.integration.test_redrive import (
    ACTIONS,
    INTERACTIONS,
    PARTITIONS,
    C,
    bench,  # noqa: F401
    event,
    patched_environment,
)
from trueup.commands import explain
from trueup.emit import send_clock

POLICY = """
[[version]]
[[version.action_types.send_email]]
type = "email_engagement"
calibrates = true
window_hours = 24
attribution = "last"
signals = [
  { kind = "reply_received", means = "positive" },
  { kind = "bounced", means = "negative" },
]
[[version.action_types.send_email]]
type = "deal_progression"
window_hours = 48
signals = [{ kind = "stage_changed", when = "stage_above", means = "positive" }]
"""
OWN, OTHER = C[0], C[1]


def told(bench, *words, code=0):  # noqa: F811
    app = typer.Typer()
    app.command()(explain.command)
    with patched_environment(bench.settings):
        done = CliRunner().invoke(app, words)
    assert done.exit_code == code, (done.output, done.exception)
    return json.loads(done.stdout_bytes) if "--json" in words else done.output


async def happen(bench):  # noqa: F811
    """Two emails, and what answered them, in an order of arrival that changes its mind."""

    async def interaction(event_id, kind, at, **fields):
        await bench.put(INTERACTIONS, event(event_id, OWN, at, kind=kind, **fields), OWN)

    await bench.put(ACTIONS, event("a1", OWN, "10:00:00", deal_stage="evaluation"), OWN)
    await bench.put(ACTIONS, event("a1", OTHER, "10:00:00"), OTHER)
    await interaction("i-early", "reply_received", "09:30:00")
    await interaction("i-reply", "reply_received", "10:30:00")
    await bench.reach(admitted=4)
    await interaction("i-bounce", "bounced", "10:20:00")
    await interaction("i-reply", "reply_received", "10:30:00")
    await interaction("i-click", "link_clicked", "10:40:00")
    await interaction("i-stage", "stage_changed", "10:45:00", deal_stage="discovery")
    await bench.put(ACTIONS, event("a2", OWN, "11:00:00"), OWN)
    await interaction("i-named", "reply_received", "11:10:00", action_id="a2")
    await interaction("i-next", "reply_received", "11:20:00")
    await bench.put(INTERACTIONS, b'{"kind": "\x1b[2J', OWN)
    await interaction("i-much-later", "reply_received", "15:00:00")
    await interaction("i-late", "reply_received", "10:05:00")
    await bench.reach(admitted=10, late=1, dead=1, duplicate=1, ignored=1)


@pytest.mark.slow
async def test_a_story_has_the_rule_the_meanings_and_what_was_superseded(bench):  # noqa: F811
    bench.policy.write_text(POLICY)
    await bench.start_worker()
    await happen(bench)
    await send_clock(bench.connection, "2026-01-08T00:00:00Z", PARTITIONS)
    await bench.settled_rows(6)

    assert "--conversation" in await asyncio.to_thread(told, bench, "a1", code=2)
    which = ("a1", "--tenant", "acme", "--conversation", OWN)
    story = await asyncio.to_thread(told, bench, *which, "--json")

    email, deal = story["outcomes"]
    assert (email["status"], email["decided_by"]) == ("negative", "i-bounce")
    said = [(one["status"], one["decided_by"]) for one in email["revisions"]]
    assert said[0] in (("pending", None), ("positive", "i-reply"))
    assert ("positive", "i-reply") in said
    assert said[-1] == ("negative", "i-bounce")
    (decider,) = [one for one in email["interactions"] if one["decided"]]
    assert (decider["event_id"], decider["by_rule"]) == ("i-bounce", ["bounced is negative"])
    why = {(one["event_id"], one["became"]): one["why"] for one in email["interactions"]}
    assert why == {
        ("i-early", "admitted"): "30 min before the action",
        ("i-late", "late"): "late: its topic was 4 h 55 min further by then, the grace is 1 h",
        ("i-bounce", "admitted"): "",
        ("i-reply", "admitted"): "an earlier one decided",
        ("i-reply", "duplicate"): "a copy of an event that was there already",
        ("i-click", "ignored"): "no rule of any policy version listens to this kind",
        ("i-stage", "admitted"): "no rule of email_engagement listens to stage_changed",
        ("i-named", "admitted"): "it concerns the action a2 alone",
        ("i-next", "admitted"): "it counts for a later action of the conversation",
        ("i-much-later", "admitted"): "it counts for a later action of the conversation",
        (None, "dead"): "dead letter 0:0: json_invalid",
    }
    assert deal["status"] == "expired"
    why = {one["event_id"]: one["why"] for one in deal["interactions"]}
    assert why["i-stage"] == "discovery does not rank above evaluation"

    text = await asyncio.to_thread(told, bench, *which)
    words = " ".join(text.split())
    assert 'by the rule "bounced is negative"' in words
    assert "this superseded positive by i-reply" in words
    assert "`trueup audit` finds out" not in words
    assert "\x1b" not in text
    for action_id, answer in (
        ("i-bounce", "It is an interaction, and decided: a1"),
        ("i-late", "In late-events it is"),
        ("a12", "Near it: a"),
    ):
        assert answer in await asyncio.to_thread(told, bench, action_id, code=4)
