"""What the publisher writes of a batch in which something is forgotten."""

import msgspec
import pytest

from agents_topics.events import Forgotten, Outcome
from agents_topics.examples import EXAMPLES
from sinks.postgres.forgetting import forgotten_among, left_of
from sinks.postgres.outcome_rows import last_outcomes

TENANT, OTHER = EXAMPLES[Outcome]["settled"]["tenant_id"], "11111111-2222-4333-8444-555555555555"


def outcome(conversation, tenant=TENANT, **fields):
    body = EXAMPLES[Outcome]["settled"] | {"tenant_id": tenant, "conversation_id": conversation}
    return msgspec.json.encode(body | {"id": f"{tenant}/{conversation}"} | fields)


def forgotten(conversation):
    body = EXAMPLES[Forgotten]["full"] | {"tenant_id": TENANT, "conversation_id": conversation}
    return msgspec.json.encode(msgspec.convert(body, Forgotten))


def last_of(*values):
    """Offsets of what is written, and how many are refused as second resolutions."""
    records = list(enumerate(values))
    last, refused = last_outcomes(left_of(records, forgotten_among(records)))
    return [offset for offset, _ in last], refused


@pytest.mark.parametrize(("meant", "left"), [("c", [1, 2]), (None, [2]), ("d", [0, 2])])
def test_what_came_before_is_not_written_and_nobody_elses_is_left_out(meant, left):
    assert last_of(outcome("c"), outcome("d"), outcome("c", OTHER), forgotten(meant)) == (left, 0)


def test_an_id_that_begins_anew_is_no_second_resolution():
    anew = outcome("c", is_settled=False, status="pending", revision=0)

    assert last_of(outcome("c"), forgotten("c"), anew) == ([2], 0)


def test_an_outcome_that_only_speaks_of_forgetting_is_an_outcome():
    assert last_of(outcome("c", metadata={"forget_id": "f"}), forgotten("d")) == ([0], 0)
