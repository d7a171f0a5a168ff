"""What the topic `outcomes` has told of lives that are over, and where."""

import json

from tests.ledger import HOME, HOUR, START, TENANT, key_of
from tests.unit.test_audit_compares import log_of
from trueup.audit.contract import Forget
from trueup.audit.forgetting import Entry, Lives
from trueup.audit.telling import told_in

KEY = key_of(HOME).decode()


def outcome(action_id, *, is_settled=True):
    about = {"tenant_id": TENANT, "conversation_id": HOME, "action_id": action_id}
    return json.dumps(about | {"outcome_type": "o", "is_settled": is_settled}).encode()


def entry(conversation):
    return Entry(0, Forget("f", TENANT, conversation), {}, START + HOUR)


def test_an_outcome_is_told_where_it_settled_under_the_life_that_ended_next():
    log = log_of(
        outcome("a"), b'{"forget_id":"f"}', outcome("a", is_settled=False), outcome("b"),
        b'{"forget_id":"g"}', outcome("b"),
    )  # fmt: skip

    told = told_in(log, Lives([entry(HOME), entry(None)]))

    assert told.settled == {
        (f"{KEY}\0{0}", "a", "o"): ("t/0", 0),
        (f"{KEY}\0{1}", "b", "o"): ("t/0", 3),
        (KEY, "b", "o"): ("t/0", 5),
    }
    assert told.lives == {0: ("t/0", 1), 1: ("t/0", 4)}
    assert told.tenants == [(TENANT, ("t/0", 4))]
