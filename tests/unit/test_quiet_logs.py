"""A broker that is away is said once in a while, not hundreds of times a second."""

import logging

from streams.quiet_logs import REPEAT_S, SeldomFilter


def record(name, text, *values):
    return logging.LogRecord(name, logging.ERROR, "", 0, text, values, None)


def test_a_sentence_of_the_driver_comes_again_only_after_a_while():
    now = [100.0]
    seldom = SeldomFilter(lambda: now[0])

    first = seldom.filter(record("aiokafka", "Unable connect to node with id %s", 1))
    again = seldom.filter(record("aiokafka", "Unable connect to node with id %s", 2))
    other = seldom.filter(record("aiokafka", "Unable to update metadata"))
    now[0] += REPEAT_S
    later = seldom.filter(record("aiokafka", "Unable connect to node with id %s", 1))

    assert [first, again, other, later] == [True, False, True, True]


def test_what_is_not_the_drivers_is_never_dropped():
    seldom = SeldomFilter()

    assert all(seldom.filter(record("mode", "the same")) for _ in range(3))
