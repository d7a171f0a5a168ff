"""What was promoted is held to the rules it was judged by, recomputed from the topics."""

import json
from dataclasses import replace

import pytest

from agents_topics.policy_file import DEFAULT_POLICY_TOML, parse_policy
from tests.ledger import ACTIONS, HOME, HOUR, INTERACTIONS, START, TENANT, body_of, key_of
from trueup.audit.bins import bins_of
from trueup.audit.contract import read_event
from trueup.audit.promotions import after_promotions, promotions_of
from trueup.audit.settling import settle
from trueup.audit.telling import Told

HALF = DEFAULT_POLICY_TOML.replace("window_hours = 24", "window_hours = 12")
OF_A_FAX = HALF.replace("action_types.send_chat", "action_types.fax")
AS_OF = START + 60 * HOUR
KEY = key_of(HOME).decode()


def events(topic, *told):
    return [read_event(topic, key_of(HOME), body_of(name, at, **more)) for name, at, more in told]


ADMITTED = {
    0: {
        ACTIONS: events(
            ACTIONS,
            ("replied", START, {}),
            ("silent", START + 25 * HOUR, {}),
            ("chat", START + 25 * HOUR, {"action_type": "send_chat"}),
            ("between", START + 47 * HOUR, {}),
            ("open", START + 59 * HOUR, {}),
        ),
        INTERACTIONS: events(INTERACTIONS, ("i1", START + 18 * HOUR, {"kind": "reply_received"})),
    }
}


def settled_by(policy, until_ms, admitted=ADMITTED):
    return settle(admitted, policy, {0: until_ms})


def settle_again(policy, until_ms, admitted=ADMITTED):
    """As the audit does: what another policy does not know is not admitted."""
    version = policy.version_at(START)
    known = [a for a in admitted[0][ACTIONS] if version.rules_of(TENANT, a.body.action_type, None)]
    return settled_by(policy, until_ms, {0: admitted[0] | {ACTIONS: known}})


def shadow(text=HALF, lineage=1, **about):
    about = {
        **{"judging": "recorded", "topics": {}, "policy_toml": text},
        **{"tenants": None, "since_ms": None, "until_ms": None},
        **about,
    }
    return {"name": "s", "lineage": lineage, "as_of_ms": AS_OF, "about": json.dumps(about)}


def expected(*shadows, until_ms=AS_OF, lineages=None):
    live = settled_by(parse_policy(DEFAULT_POLICY_TOML), until_ms)
    found = promotions_of(shadows, parse_policy)
    return after_promotions(live, found, lineages or {}, Told(), settle_again)


def told(it):
    """Status and window in hours by action."""
    return {
        name[1]: (one["status"], (one["window_expires_at"] - one["created_at"]) // HOUR)
        for name, one in it.settled.items()
    }


def name_of(action_id):
    return (KEY, action_id, "email_engagement")


def test_where_nothing_was_promoted_live_is_expected():
    assert told(expected()) == {
        "replied": ("positive", 24),
        "silent": ("expired", 24),
        "chat": ("expired", 24),
    }
    assert expected().corrections() == {}


def test_what_both_have_settled_is_the_shadows_and_what_live_holds_open_stays_lives():
    it = expected(shadow())

    assert told(it) == {
        "replied": ("expired", 12),
        "silent": ("expired", 12),
        "chat": ("expired", 12),
    }


def test_what_live_settled_since_is_told_by_the_rows_lineage():
    later = {"until_ms": START + 80 * HOUR}

    lives = expected(shadow(), **later, lineages={name_of("between"): 0})
    shadows = expected(shadow(), **later, lineages={name_of("between"): 1})

    assert told(lives)["between"] == ("expired", 24)
    assert told(shadows)["between"] == ("expired", 12)


def test_an_action_that_the_shadow_did_not_admit_is_gone():
    it = expected(shadow(OF_A_FAX))

    assert set(told(it)) == {"replied", "silent"}
    assert [one["stream"][1] for one in it.went].count("send_chat") == 1


def test_what_a_shadow_does_not_cover_stays():
    other = {"tenants": ["7d444840-9dc0-51d1-b245-5ffdce74fad2"]}
    before = {"until_ms": START + HOUR}

    assert told(expected(shadow(**other))) == told(expected())
    assert told(expected(shadow(**before))) == told(expected()) | {"replied": ("expired", 12)}


def test_bins_are_corrected_by_what_came_less_what_went():
    it = expected(shadow())
    total = bins_of(settled_by(parse_policy(DEFAULT_POLICY_TOML), AS_OF)[0].values())
    for key, row in it.corrections().items():
        total[key] = [a + b for a, b in zip(total.get(key, [0] * 8), row, strict=True)]

    assert {key: row for key, row in total.items() if any(row)} == bins_of(it.settled.values())


def test_of_two_promotions_the_later_one_is_the_truth():
    it = expected(shadow(), shadow(DEFAULT_POLICY_TOML, lineage=2))

    assert told(it) == told(expected())
    assert not any(any(row) for row in it.corrections().values())


@pytest.mark.parametrize(
    "about", [{"judging": "on_time"}, {"topics": {"agent-actions": "old"}}, {"policy_toml": None}]
)
def test_what_was_judged_otherwise_is_held_to_nothing_and_said_to_be(about):
    lineages = {name_of("replied"): 1, name_of("chat"): 0}
    it = expected(shadow(**about), lineages=lineages)

    assert set(it.unheld) == {name_of("replied"), name_of("silent")}


def test_a_lineage_of_which_nothing_is_known_is_held_to_nothing():
    it = expected(lineages={name_of("replied"): 3, name_of("silent"): 0})

    assert it.unheld == {name_of("replied"): "lineage 3, whose shadow was dropped"}


PLACE = "outcomes/0"
LIFE = f"{KEY}\0{0}"
OVER = {0: {topic: [replace(e, key=LIFE) for e in own] for topic, own in ADMITTED[0].items()}}
"""The same events, and their conversation was forgotten at offset 10 of `outcomes`."""
ENDED = {"lives": {0: (PLACE, 10)}}


def expected_of_forgotten(about, said=("replied", "silent", "chat"), **told):
    """After a promotion at which the publisher had written so many of what live had said."""
    live = settled_by(parse_policy(DEFAULT_POLICY_TOML), AS_OF, OVER)
    settled = {(LIFE, name, "email_engagement"): (PLACE, n) for n, name in enumerate(said)}
    found = promotions_of([shadow(**about)], parse_policy)
    told = Told(settled, **(ENDED | told))
    return after_promotions(live, found, {}, told, lambda *asked: settle_again(*asked, OVER))


def test_what_was_forgotten_after_a_promotion_has_no_rows_and_its_sums_stay():
    it = expected_of_forgotten({"stood_at": {PLACE: 10}})

    assert it.settled == {}
    assert it.corrections() == expected(shadow()).corrections()
    assert any(any(row) for row in it.corrections().values())


def test_of_what_was_forgotten_a_promotion_takes_what_had_settled_and_leaves_what_was_open():
    it = expected_of_forgotten({"stood_at": {PLACE: 2}})

    assert len(it.went) == len(it.came) == 2


@pytest.mark.parametrize("about", [{"stood_at": {PLACE: 11}}, {}])
def test_what_was_forgotten_before_a_promotion_or_nobody_knows_when_is_in_no_sum_of_it(about):
    it = expected_of_forgotten(about)

    assert (it.settled, it.corrections()) == ({}, {})


def test_of_a_tenant_that_was_forgotten_after_a_promotion_no_sums_of_it_stay():
    told = {"tenants": [(TENANT, ("outcomes/1", 4))]}

    after = expected_of_forgotten({"stood_at": {PLACE: 10, "outcomes/1": 4}}, **told)
    before = expected_of_forgotten({"stood_at": {PLACE: 10, "outcomes/1": 5}}, **told)

    assert after.corrections() == {}
    assert before.corrections() == expected(shadow()).corrections()
