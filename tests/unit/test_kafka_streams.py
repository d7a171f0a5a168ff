"""What validation through Kafka sends and compares: what is late is late, and a bit is seen."""

import copy
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from agents_topics.calibration import RECORDS
from agents_topics.events import CalibrationUpdate, to_ms
from agents_topics.label_rates import LabelRate
from benchmarks.kafka_records import classes_of, records_of
from benchmarks.kafka_results import different, followed, in_memory
from benchmarks.kafka_streams import agents, round_of
from benchmarks.simulated_streams import GRACE_MS, WINDOW_MS
from benchmarks.validation_kafka import AGENTS, Tally, broken
from streams.partitioner import partitions_of
from tables.stream_sums import OTHER, SEGMENTS_MAX
from tests.told import every_kind
from tests.told import stream as told_stream

PARTITIONS = 3


@pytest.fixture(scope="module")
def streams():
    return round_of(np.random.default_rng(3), agents(plain=1, follow_up=1, other=1))


@pytest.fixture(scope="module")
def sent(streams):
    return records_of(np.random.default_rng(4), streams, PARTITIONS)


@pytest.fixture(scope="module")
def known(streams):
    return in_memory(np.random.default_rng(1), streams)


def body_of(record):
    return msgspec.json.decode(record.value)


def test_a_record_is_late_where_it_is_meant_to_be_and_nowhere_else(sent):
    partitions = partitions_of([one.key for one in sent], PARTITIONS)
    for place in {(one.topic, p) for one, p in zip(sent, partitions, strict=True)}:
        own = [one for one, p in zip(sent, partitions, strict=True) if (one.topic, p) == place]
        times_ms = [to_ms(body_of(one)["occurred_at"]) for one in own]
        for number, one in enumerate(own):
            is_behind = any(times_ms[number] + GRACE_MS <= at_ms for at_ms in times_ms[:number])
            assert is_behind == one.is_late
        assert times_ms != sorted(times_ms)
    assert sum(one.is_late for one in sent) > 100


def test_copies_are_of_records_in_time_and_each_record_has_one_class(sent):
    values = [(one.topic, one.key, body_of(one)["event_id"]) for one in sent]
    late = [one for one in sent if one.is_late]

    classes = classes_of(sent)

    assert classes == {
        "admitted": len(set(values)) - len(late),
        "duplicates": len(values) - len(set(values)),
        "late": len(late),
    }
    assert min(classes.values()) > 100


def test_what_is_sent_of_an_agent_is_what_the_simulation_says_became_of_it(streams, sent):
    """A reply within a day of an action is its success: no conversation has two at once."""
    replies = {}
    for one in sent:
        if one.topic == "agent-interactions" and not one.is_late:
            replies.setdefault(body_of(one)["conversation_id"], set()).add(one.at_ms)
    for stream in streams:
        for one in stream.played:
            own = replies.get(str(one.conversation), set())
            assert one.y == any(one.at_ms <= at_ms < one.at_ms + WINDOW_MS for at_ms in own)


def test_no_conversation_belongs_to_two_streams(streams):
    conversations = [{one.conversation for one in stream.played} for stream in streams]

    assert len(set.union(*conversations)) == sum(map(len, conversations))


def test_a_stream_that_differs_by_a_bit_or_is_not_there_is_named(known):
    found = copy.deepcopy(known)
    first, second, third, fourth, fifth, *_ = sorted(known)
    found[first].bins[5, "lead"] = (1, *found[first].bins[5, "lead"][1:])
    standing = found[second].standing
    standing.log_evidence_nanos += 1
    del found[third]
    found[fourth].told["threshold-adjustments", "a key"] = standing
    found[fifth].rows["calibration_days"] = {"a row"}

    assert different(known, known) == []
    assert different(known, found) == [first, second, third, fourth, fifth]


def test_every_kind_of_record_is_compared(known):
    kinds = {type(one) for own in known.values() for one in own.told.values()}

    assert kinds == {CalibrationUpdate, LabelRate, *RECORDS}


def test_a_long_stream_has_more_models_than_are_told_apart(streams, known):
    longest = max(streams, key=lambda one: len(one.played))

    found = {getattr(one, "segment", None) for one in known[longest.place].told.values()}

    assert OTHER in found
    assert len(found - {OTHER, None}) == SEGMENTS_MAX


def test_agents_follow_the_last_of_what_was_decided():
    stream = tuple(told_stream("t").values())
    key = "/".join(map(str, stream))
    told = {
        ("calibration-updates", f"{key}/{one.kind}/{one.number}"): one
        for number in (9, 10, 1)
        for kind in ("threshold_adjustments", "calibration_maps", "calibration_alarms")
        for one in [replace(every_kind("t")[kind], number=number)]
    }

    last = followed(told)

    assert {place: one.number for place, one in last.items()} == {
        ("threshold-adjustments", key): 10,
        ("calibration-maps", key): 10,
    }


def test_a_page_whose_promises_are_broken_says_which(known):
    alarmed = next(one for one in known.values() if one.alarms)
    tally = Tally()
    for agent in AGENTS:
        tally.known[agent] = [alarmed]
    tally.sent["late"], tally.rounds = 1, 1

    told = list(broken(tally))

    assert [line.partition(":")[0] for line in told] == [
        "more false alarms than alpha allows",
        "more false alarms than alpha allows",
        "records are not of the class that was sent",
        "the audit is not exact",
    ]
