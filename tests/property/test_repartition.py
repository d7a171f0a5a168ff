"""Partitions merged and parted again: what was on time in one is on time in any other."""

import zlib
from collections import Counter, defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from tables.repartition import Entry, Merge
from tables.stream_times import NEVER_MS
from tests.hunt import examples

GRACE_MS = 60
AHEAD_MS_MAX = 10

records = st.tuples(
    st.integers(0, 9),  # its key
    st.integers(0, 15),  # how much later than the record before it the broker took it
    st.integers(-AHEAD_MS_MAX, 2 * GRACE_MS),  # how old it was then
)


def logs_of(drawn, count):
    """By partition, where its key belongs, each record's place, time and broker's time."""
    logs, broker_ms = {number: [] for number in range(count)}, 0
    for offset, (key, pause_ms, age_ms) in enumerate(drawn):
        broker_ms += pause_ms
        logs[home_of(key, count)].append((key, offset, broker_ms - age_ms, broker_ms))
    return logs


def home_of(key, count):
    return zlib.crc32(bytes([key])) % count


def on_time(log):
    """Those that were not behind."""
    time_ms = NEVER_MS
    for key, offset, at_ms, broker_ms in log:
        is_late = at_ms + GRACE_MS <= time_ms
        time_ms = max(time_ms, min(at_ms, broker_ms))
        if not is_late:
            yield Entry(at_ms, min(at_ms, broker_ms), (key, offset))


def merged(entries, draw):
    """Read in pieces of any size, any source next."""
    merge, left, taken = Merge(entries), {s: list(own) for s, own in entries.items()}, []
    while unread := [source for source, own in left.items() if own]:
        source = draw(st.sampled_from(unread))
        count = draw(st.integers(1, 5))
        merge.add(source, left[source][:count])
        del left[source][:count]
        taken += merge.ready([s for s, own in left.items() if own])
    return [*taken, *merge.ready(())]


@given(st.lists(records, max_size=60), st.integers(1, 4), st.integers(1, 4), st.data())
@settings(max_examples=examples(400))
def test_nothing_that_was_on_time_is_behind_in_any_new_partition(drawn, old, new, data):
    entries = {("t", n): list(on_time(log)) for n, log in logs_of(drawn, old).items()}

    taken = merged(entries, data.draw)

    time_ms = defaultdict(lambda: NEVER_MS)
    for entry in taken:
        home = home_of(entry.record[0], new)
        assert entry.at_ms + GRACE_MS > time_ms[home]
        time_ms[home] = max(time_ms[home], entry.at_ms)
    assert Counter(taken) == Counter(entry for own in entries.values() for entry in own)


@given(st.lists(records, max_size=60), st.integers(1, 4), st.data())
def test_records_of_a_key_keep_their_order_but_for_what_was_ahead_of_the_brokers_time(
    drawn, old, data
):
    entries = {("t", n): list(on_time(log)) for n, log in logs_of(drawn, old).items()}

    taken = merged(entries, data.draw)

    offsets = defaultdict(list)
    for entry in taken:
        if entry.at_ms == entry.capped_ms:
            offsets[entry.record[0]].append(entry.record[1])
    assert all(own == sorted(own) for own in offsets.values())


@given(st.lists(records, max_size=60), st.integers(1, 4), st.data())
def test_the_order_is_the_same_however_the_sources_are_read(drawn, old, data):
    entries = {("t", n): list(on_time(log)) for n, log in logs_of(drawn, old).items()}

    assert merged(entries, data.draw) == list(at_once(entries))


def at_once(entries):
    """The slow way: all that stands first, and all that is held back, is looked at each time."""
    left, ahead = {source: list(own) for source, own in entries.items()}, []
    while any(left.values()):
        source = min((own[0].capped_ms, source) for source, own in left.items() if own)[1]
        entry = left[source].pop(0)
        due = sorted((e for e in ahead if e.at_ms <= entry.capped_ms), key=lambda e: e.at_ms)
        yield from due
        ahead = [e for e in ahead if e not in due]
        if entry.at_ms > entry.capped_ms:
            ahead.append(entry)
        else:
            yield entry
    yield from sorted(ahead, key=lambda e: e.at_ms)
