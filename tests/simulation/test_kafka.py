"""The broker in memory keeps a real one's promises, which the engine rests on."""

import pytest
from aiokafka.errors import ProducerFenced

from tests.simulation.kafka import Kafka

RECORD = [(b"key", b"value", ())]


class Later:
    """What is to happen later happens when the test says so; time-outs only when asked for."""

    def __init__(self):
        self.due, self.expiring = [], []

    def __call__(self, callback, *args, seconds=None):
        (self.due if seconds is None else self.expiring).append((callback, args))

    def happen(self, calls):
        waiting, calls[:] = list(calls), []
        for callback, args in waiting:
            callback(*args)


@pytest.fixture
def later():
    return Later()


@pytest.fixture
def kafka(later):
    return Kafka(lambda *_: 0, later, lambda _: None, lambda _: None)


def committed(kafka):
    records, position = kafka.log("outcomes", 0).read(0)
    return [record.offset for record in records], position


def test_a_transaction_is_read_once_its_marker_stands_and_the_marker_takes_an_offset(kafka, later):
    epoch = kafka.init("id")
    kafka.write("id", epoch, "outcomes", 0, RECORD)
    kafka.append("outcomes", 0, RECORD)

    assert committed(kafka) == ([], 0)

    kafka.commit("id", epoch)
    later.happen(later.due)

    assert committed(kafka) == ([0, 1], 3)


def test_a_new_producer_fences_the_last_and_its_open_transaction_never_was(kafka, later):
    old = kafka.init("id")
    kafka.write("id", old, "outcomes", 0, RECORD)
    kafka.add_offsets("id", old, {("agent-actions", 0): 7})

    assert kafka.init("id") is None

    later.happen(later.due)
    kafka.init("id")

    assert committed(kafka) == ([], 2)
    assert kafka.group_offsets == {}
    for ask in (kafka.commit, lambda *by: kafka.write(*by, "outcomes", 0, RECORD)):
        with pytest.raises(ProducerFenced):
            ask("id", old)


def test_what_is_committed_is_not_undone_by_a_fence_and_the_next_waits_for_its_markers(
    kafka, later
):
    epoch = kafka.init("id")
    kafka.write("id", epoch, "outcomes", 0, RECORD)
    kafka.add_offsets("id", epoch, {("agent-actions", 0): 7})
    kafka.commit("id", epoch)

    assert kafka.init("id") is None
    assert kafka.write("id", epoch, "outcomes", 0, RECORD) is None

    later.happen(later.due)

    assert kafka.init("id") is not None
    assert committed(kafka) == ([0], 2)
    assert kafka.group_offsets == {("agent-actions", 0): 7}


def test_a_transaction_that_takes_too_long_is_aborted_and_its_producer_fenced(kafka, later):
    epoch = kafka.init("id")
    kafka.write("id", epoch, "outcomes", 0, RECORD)

    later.happen(later.expiring)
    later.happen(later.due)

    assert committed(kafka) == ([], 2)
    with pytest.raises(ProducerFenced):
        kafka.commit("id", epoch)


def test_compaction_keeps_the_last_stable_record_of_each_key_at_its_offset(kafka):
    log = kafka.log("outcomes", 0)
    for key in (b"a", b"b", b"a"):
        kafka.append("outcomes", 0, [(key, b"value", ())])

    log.compact()

    assert [(record.key, record.offset) for record in log.read(0)[0]] == [(b"b", 1), (b"a", 2)]
