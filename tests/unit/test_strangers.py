"""Around the core: producers that do not partition by murmur2, and control records."""

import json
from types import SimpleNamespace

import pytest

from agents_topics.identifiers import key_of
from agents_topics.policy_file import load_policy
from agents_topics.topics import TOPICS
from streams.partitioner import partitions_of
from streams.resolve_outcomes import CONTROL, ResolverSettings, ResolverWork
from tables.outcome_resolver import ACTIONS, INTERACTIONS
from tests.wrapping import BINARY, CONFLUENT, STRUCTURED, enveloped

TENANT = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"
GRACE = {ACTIONS: 3_600_000, INTERACTIONS: 3_600_000}


@pytest.fixture
def work():
    tools = SimpleNamespace(names={t.name: t.name for t in TOPICS}, partition_count=4)
    return ResolverWork(0, tools, ResolverSettings(load_policy(None), GRACE, 10_000))


def conversations(partition, count):
    names = [f"c{number}" for number in range(400)]
    found = partitions_of([key_of(TENANT, name).encode() for name in names], 4)
    return [name for name, at in zip(names, found, strict=True) if at == partition][:count]


def record(number, conversation, zone):
    body = {
        "event_id": f"e{number}",
        "tenant_id": TENANT,
        "conversation_id": conversation,
        "action_type": "send_email",
        "predicted_confidence": 0.5,
        "occurred_at": f"2026-01-05T00:00:{number:02d}{zone}",
    }
    key = key_of(TENANT, conversation).encode()
    return SimpleNamespace(
        offset=number,
        timestamp=1_900_000_000_000,
        key=key,
        value=json.dumps(body).encode(),
        headers=(),
    )


@pytest.mark.parametrize("zone", ["Z", "+00:00"])
def test_a_stranger_is_refused_in_every_batch_and_its_neighbours_are_not(work, zone):
    (own,), (other,) = conversations(0, 1), conversations(1, 1)
    for first in (0, 4, 8):
        records = [record(first + n, c, zone) for n, c in enumerate((own, other, other, own))]
        work._admit(ACTIONS, records)
    refused = work.resolver.finish().refused

    assert [one.record.offset for one in refused] == [1, 2, 5, 6, 9, 10]
    assert {one.reason for one in refused} == {"wrong_partition"}
    assert work.resolver.counts[ACTIONS, "admitted"] == 6


@pytest.mark.parametrize(
    ("until", "counted"),
    [("2026-01-05T00:00:00Z", "admitted"), ("2099-01-05T00:00:00Z", "dead"), ("soon", "dead")],
)
def test_a_control_record_is_counted_as_what_became_of_it(work, until, counted):
    value = b'{"kind": "clock", "event_id": "e", "until": "%s"}' % until.encode()
    record = SimpleNamespace(offset=0, timestamp=1_800_000_000_000, value=value)

    work.take(CONTROL, [record])
    refused = work.resolver.finish().refused

    assert len(refused) == (counted == "dead")
    assert {r: n for (_, r), n in work.resolver.counts.items() if n} == {counted: 1}


def test_an_event_that_comes_again_in_an_envelope_is_a_duplicate(work):
    (own,) = conversations(0, 1)
    plain = record(0, own, "Z")
    structured, binary, prefixed = (record(0, own, "Z") for _ in range(3))
    structured.value, structured.headers = enveloped(plain.value, id="other"), STRUCTURED
    binary.headers = BINARY
    prefixed.value = CONFLUENT + plain.value
    broken = record(1, own, "Z")
    broken.headers = BINARY[1:]

    work._admit(ACTIONS, [plain, structured, binary, prefixed, broken])

    counts = work.resolver.counts
    assert (counts[ACTIONS, "admitted"], counts[ACTIONS, "duplicate"]) == (1, 3)
    assert [refused.reason for refused in work.resolver.finish().refused] == ["envelope"]
