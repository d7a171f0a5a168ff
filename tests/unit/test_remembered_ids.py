"""Whether a record is a copy does not depend on whether the first one is logged yet."""

import pytest

from agents_topics.codec import Decoder
from agents_topics.events import Action
from tables.remembered_ids import RememberedIds
from tests.ledger import HOME, HOUR, START, body_of, key_of


def event_of(metadata):
    return Decoder(Action).decode(key_of(HOME), body_of("a1", START, metadata=metadata)).event


@pytest.mark.parametrize("is_logged", [False, True])
@pytest.mark.parametrize(
    ("other", "is_copy"),
    [({"b": 2, "a": 1}, True), ({"a": 1.0, "b": 2}, False), ({"a": True, "b": 2}, False)],
)
def test_a_copy_is_told_from_another_body_before_and_after_it_is_logged(other, is_copy, is_logged):
    ids = RememberedIds("agent-actions", HOUR)
    ids.add(("k", "a1"), START, event_of({"a": 1, "b": 2}))

    if is_logged:
        ids.finish(START, {})

    assert ids.is_copy(("k", "a1"), event_of(other), START) is is_copy
