"""Every reason that a compared shadow can be told to differ for, by a shadow that does."""

import asyncio
import json

import pytest
from typer.testing import CliRunner

from agents_topics.policy_file import parse_policy
from sinks.postgres.migrate import migrate
from sinks.postgres.shadow_compare import compare_shadow
from sinks.postgres.writer import PostgresWriter
from tests.pipeline import Pipeline, shadow_of
from tests.resolver_task import ACTIONS, HOUR, INTERACTIONS, START
from trueup.cli import command_line

RULES = """
[[version]]
[version.confidence_sources]
send = "logprob"
[[version.action_types.send]]
type = "answer"
calibrates = true
window_hours = 24
label_window_hours = 0
attribution = "all"
signals = [
  { kind = "reply", means = "positive" },
  { kind = "bounce", means = "negative" },
  { kind = "*", when = "count_above", means = "positive" },
]
[[version.action_types.send]]
type = "deal"
calibrates = false
window_hours = 24
label_window_hours = 72
score = "unit"
signals = [{ kind = "staged", when = "stage_above", means = "positive" }]
[[version.action_types.call]]
type = "contact"
calibrates = true
window_hours = 24
attribution = "last"
signals = [{ kind = "voice", means = "positive" }]
[[version.action_types.visit]]
type = "contact"
calibrates = true
window_hours = 24
attribution = "last"
signals = [{ kind = "seen", means = "positive" }]
"""
AS_OF_MS = START + 150 * HOUR


def told_to(tenant):
    """(topic, ms, fields): a conversation for each way to be decided, named by its actions."""

    def action(name, hours, conversation, kind="send", **more):
        at = {"event_id": name, "action_id": name, "action_type": kind, "interaction_count": 3}
        said = {"predicted_confidence": 0.81, "deal_stage": "discovery"}
        return ACTIONS, hours, conversation, at | said | more

    def came(name, hours, conversation, kind, **more):
        return INTERACTIONS, hours, conversation, {"event_id": name, "kind": kind} | more

    told = [
        action("replied", 0, "c1"),
        came("i1", 1, "c1", "reply"),
        action("bounced", 0, "c2"),
        came("i2", 1, "c2", "bounce"),
        came("i3", 30, "c2", "human_label", action_id="bounced", label="positive"),
        action("clicked", 0, "c3"),
        came("i4", 1, "c3", "click"),
        came("i5", 2, "c3", "reply"),
        action("first", 0, "c4"),
        action("second", 1, "c4"),
        came("i6", 2, "c4", "reply"),
        action("counted", 0, "c5"),
        came("i7", 1, "c5", "bounce", interaction_count=4),
        action("silent", 0, "c6"),
        came("i8", 30, "c6", "reply"),
        action("staged", 0, "c7"),
        came("i9", 1, "c7", "staged", deal_stage="negotiation"),
        action("called", 0, "c8", "call"),
        action("visited", 1, "c8", "visit"),
        came("i10", 2, "c8", "voice"),
    ]
    return [
        (topic, START + hours * HOUR, fields | {"tenant_id": tenant, "conversation_id": c})
        for topic, hours, c, fields in sorted(told, key=lambda one: one[1])
    ]


@pytest.fixture(scope="module")
def url(database_url):
    migrate(database_url)
    return database_url


async def lived(url, until_ms=AS_OF_MS):
    """A tenant of its own by the rules, all of it told."""
    async with PostgresWriter(url) as writer:
        live = Pipeline(RULES, writer)
        live.told = told_to(live.tenant)
        live.take(live.told)
        await live.live(until_ms)
    return live


@pytest.fixture(scope="module")
def live(url):
    return asyncio.run(lived(url))


def changed(*changes):
    """The rules with each pair of texts exchanged."""
    rules = RULES
    for old, new in changes:
        assert old in rules
        rules = rules.replace(old, new, 1)
    return rules


def compared(url, live, rules=RULES, told=None, until_ms=None, about=()):
    """How a shadow by these rules differs: by reason and what decided, the actions of each."""
    told = live.told if told is None else told
    name, _ = asyncio.run(shadow_of(url, live, rules, told, AS_OF_MS, until_ms, about))
    found = asyncio.run(compare_shadow(url, name))
    assert all(one.reasons for one in found.bins)
    return found, {
        (one.reason, one.live.said, one.shadow.said): {e.action_id for e in one.examples}
        for one in found.reasons
    }


BOUNCE = '{ kind = "bounce", means = "negative" }'
ANSWER, DEAL = (
    "window_hours = 24\nlabel_window_hours = 0",
    "window_hours = 24\nlabel_window_hours = 72",
)
BY_REPLY = "positive by reply or any kind (count_above)"
BY_STAGE = "positive by staged (stage_above)"
BY_LABEL = "positive by a person's label"
BY_BOTH = "ambiguous by opposite signals at one time"


def versus(what, live, shadow):
    return f"{what} {live} in live, {shadow} in the shadow"


MEANT = versus("signals: bounce means", "negative", "positive")
GONE = versus("signals: bounce means", "negative", "nothing")
COUNT_GONE = versus("signals: bounce (count_above) means", "positive", "nothing")
CLICK = versus("signals: click means", "nothing", "negative")
VOICE = versus("signals: voice means", "nothing", "positive")
LAST = versus("attribution:", "all", "last")
TAKEN = "attribution: a later action of another rule takes the signal in one of them"
WINDOW = versus("window:", "24 h", "48 h")
SETTLED = versus("label window: settled after", "24 h", "72 h")
SOURCE = versus("confidence source:", "logprob", "judge")
COUNTS, NO_MORE = "counts", "does not count"
NOT_HERE, NOT_THERE = (
    f"rule: {one} policy has no such outcome" for one in ("live's", "the shadow's")
)

BY_RULES = {
    "a signal means something else": (
        [(BOUNCE, BOUNCE.replace("negative", "positive"))],
        {
            (MEANT, "negative by bounce", "positive by bounce"): {"bounced"},
            (MEANT, BY_BOTH, "positive by reply or bounce or any kind (count_above)"): {"counted"},
        },
    ),
    "a signal is gone": (
        [(f"{BOUNCE},", "")],
        {
            (GONE, "negative by bounce", "expired"): {"bounced"},
            (f"{GONE}; {COUNT_GONE}", BY_BOTH, "expired"): {"counted"},
        },
    ),
    "a signal is new, and comes before what had decided": (
        [(BOUNCE, f"{BOUNCE}, {BOUNCE.replace('bounce', 'click')}")],
        {(CLICK, BY_REPLY, "negative by click"): {"clicked"}},
    ),
    "it counts for the last action": (
        [('attribution = "all"', 'attribution = "last"')],
        {(LAST, BY_REPLY, "expired"): {"first"}},
    ),
    "another rule's action takes it": (
        [('{ kind = "seen"', '{ kind = "voice", means = "positive" }, { kind = "seen"')],
        {
            (TAKEN, "positive by voice", "expired"): {"called"},
            (VOICE, "expired", "positive by voice or seen"): {"visited"},
        },
    ),
    "the window": (
        [(ANSWER, ANSWER.replace("24", "48"))],
        {
            (WINDOW, "expired", BY_REPLY): {"silent"},
            (WINDOW, "negative by bounce", BY_LABEL): {"bounced"},
        },
    ),
    "the label window": (
        [("label_window_hours = 0", "label_window_hours = 72")],
        {
            (SETTLED, "negative by bounce", BY_LABEL): {"bounced"},
            (SETTLED, "expired", "expired"): {"silent", "staged"},
        },
    ),
    "the score": (
        [('score = "unit"', 'score = "stages"')],
        {(versus("score:", "unit", "stages"), BY_STAGE, BY_STAGE): {"staged"}},
    ),
    "where the confidence comes from": (
        [("logprob", "judge")],
        {(SOURCE, BY_STAGE, BY_STAGE): {"staged"}, (SOURCE, BY_LABEL, BY_LABEL): {"bounced"}},
    ),
    "which outcome calibrates": (
        [
            (f"calibrates = true\n{ANSWER}", f"calibrates = false\n{ANSWER}"),
            (f"calibrates = false\n{DEAL}", f"calibrates = true\n{DEAL}"),
        ],
        {
            (versus("calibration:", COUNTS, NO_MORE), BY_BOTH, BY_BOTH): {"counted"},
            (versus("calibration:", NO_MORE, COUNTS), BY_STAGE, BY_STAGE): {"staged"},
        },
    ),
    "what expired means": (
        [(ANSWER, f'{ANSWER}\nconfidence_means = "success_given_signal"')],
        {
            (
                versus("calibration: expired", "counts as no success", "is left out"),
                "expired",
                "expired",
            ): {"silent", "staged"}
        },
    ),
    "which outcomes there are": (
        [('type = "deal"', 'type = "bargain"')],
        {
            (NOT_THERE, BY_STAGE, "no outcome"): {"staged"},
            (NOT_HERE, "no outcome", BY_STAGE): {"staged"},
        },
    ),
    "several things at once": (
        [(ANSWER, ANSWER.replace("24", "48")), ("logprob", "judge")],
        {
            (f"{WINDOW}; {SOURCE}", "expired", BY_REPLY): {"silent"},
            (SOURCE, BY_STAGE, BY_STAGE): {"staged"},
        },
    ),
}


@pytest.mark.parametrize("case", BY_RULES)
def test_another_rule_is_told_with_what_it_was_and_what_it_is(url, live, case):
    changes, expected = BY_RULES[case]
    found, actions = compared(url, live, changed(*changes))

    assert {key: actions.get(key) for key in expected} == expected
    assert {reason for reason, *_ in actions} == {reason for reason, *_ in expected}
    versions = {side.policy_version for one in found.reasons for side in (one.live, one.shadow)} - {
        None
    }
    assert versions == {*live.policy.by_digest, *parse_policy(changed(*changes)).by_digest}


def test_a_tenants_own_rules_are_the_ones_that_are_told(url, live):
    own = f'''
[[version.tenants."{live.tenant}".call]]
type = "contact"
calibrates = true
window_hours = 24
attribution = "last"
signals = [{{ kind = "voice", means = "negative" }}]
'''
    _, actions = compared(url, live, RULES + own)

    why = versus("signals: voice means", "positive", "negative")
    assert actions == {(why, "positive by voice", "negative by voice"): {"called"}}


def test_under_the_same_rules_it_was_other_events_or_who_leads(url, live):
    def without(name):
        return [one for one in live.told if one[2]["event_id"] != name]

    extra = {**live.told[0][2], "event_id": "more", "action_id": "more", "conversation_id": "c9"}

    _, reply = compared(url, live, told=without("i1"))
    _, action = compared(url, live, told=without("first"))
    _, more = compared(url, live, told=[(ACTIONS, START, extra), *live.told])

    assert reply == {
        ("admission: other interactions were admitted", BY_REPLY, "expired"): {"replied"}
    }
    gone = "admission: the action is not in the shadow"
    lead = versus("lead:", "does not lead", "leads")
    assert action == {
        (gone, BY_REPLY, "no outcome"): {"first"},
        (gone, "expired", "no outcome"): {"first"},
        (lead, BY_REPLY, BY_REPLY): {"second"},
        (lead, "expired", "expired"): {"second"},
    }
    assert more == {
        ("admission: the action is not among the live ones", "no outcome", "expired"): {"more"}
    }


def test_where_other_events_were_judged_or_rules_are_not_kept_no_more_is_told_than_is_known(
    url, live
):
    rules = changed(*BY_RULES["a signal means something else"][0])
    _, anew = compared(url, live, rules, about={"judging": "live"})
    _, unknown = compared(url, live, rules, about={"rules": {}})

    maybe = f"{MEANT}; admission: other interactions may have been admitted"
    positive = "positive by reply or bounce or any kind (count_above)"
    assert anew == {
        (maybe, "negative by bounce", positive): {"bounced"},
        (maybe, BY_BOTH, positive): {"counted"},
    }
    why = "signals: by another policy; its rules are not known"
    assert unknown == {
        (why, "negative by a signal", "positive by a signal"): {"bounced"},
        (why, BY_BOTH, "positive by a signal"): {"counted"},
    }


def test_what_only_one_has_settled_is_still_open_in_the_other(url, live):
    behind = asyncio.run(lived(url, START + 20 * HOUR))
    _, in_live = compared(url, behind)
    _, in_shadow = compared(url, live, until_ms=START + 20 * HOUR)

    assert {reason for reason, *_ in in_live} == {"window: still open in live"}
    assert {reason for reason, *_ in in_shadow} == {"window: still open in the shadow"}
    assert in_live["window: still open in live", "still open", "negative by bounce"] == {"bounced"}
    key = "window: still open in the shadow", "negative by bounce", "still open"
    assert in_shadow[key] == {"bounced"}


def test_the_command_tells_rule_policies_counts_and_examples(url, live):
    rules = changed(*BY_RULES["a signal means something else"][0])
    name, _ = asyncio.run(shadow_of(url, live, rules, live.told, AS_OF_MS))
    told, as_json = (
        CliRunner()
        .invoke(command_line(words), words, env={"DATABASE_URL": url}, catch_exceptions=False)
        .stdout
        for words in (["shadow", "compare", name], ["shadow", "compare", name, "--json"])
    )

    old, new = (next(iter(policy.by_digest)) for policy in (live.policy, parse_policy(rules)))
    assert (
        f"1 outcome, 1 with another result: {MEANT}\n"
        f"  send/answer, policy {old[:8]} → {new[:8]}: negative by bounce in live, "
        "positive by bounce in the shadow\n"
        "  bounced (answer): negative by i2 in live, positive by i2 in the shadow\n"
    ) in told
    assert "1 bin differ" in told
    assert "bin 8: n 7 → 8, sy 4 → 6" in told
    assert f"\n    2 outcomes: {MEANT}\n" in told
    reason = next(
        one for one in json.loads(as_json)["reasons"] if one["live"]["said"] == "negative by bounce"
    )
    assert reason == {
        "reason": MEANT,
        "action_type": "send",
        "outcome_type": "answer",
        "live": {"policy_version": old, "said": "negative by bounce"},
        "shadow": {"policy_version": new, "said": "positive by bounce"},
        "count": 1,
        "other_results": 1,
        "examples": [
            {
                "action_id": "bounced",
                "outcome_type": "answer",
                "live_status": "negative",
                "live_decided_by": "i2",
                "shadow_status": "positive",
                "shadow_decided_by": "i2",
            }
        ],
    }
