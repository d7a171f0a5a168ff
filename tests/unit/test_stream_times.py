"""Time of a topic: what records, silence and clock records make of it."""

from tables.stream_times import NEVER_MS, StreamTimes, TopicTime

HOUR = 3_600_000


def two_topics():
    return StreamTimes({"actions": TopicTime(HOUR), "interactions": TopicTime(HOUR)})


def test_a_topic_without_records_settles_nothing():
    times = two_topics()
    times.on_record(times.topics["actions"], 50 * HOUR, 1_000 * HOUR)

    assert times.settled_ms == NEVER_MS


def test_time_is_capped_at_the_brokers_timestamp():
    times = two_topics()
    times.on_record(times.topics["actions"], 50 * HOUR, 40 * HOUR)

    assert times.topics["actions"].now_ms == 40 * HOUR


def test_time_never_goes_back():
    times = two_topics()
    times.on_record(times.topics["actions"], 50 * HOUR, 100 * HOUR)
    times.on_record(times.topics["actions"], 10 * HOUR, 101 * HOUR)

    assert times.topics["actions"].now_ms == 50 * HOUR


def test_a_silent_topic_paces_with_the_brokers_clock_and_does_not_jump_to_now():
    times = two_topics()
    times.on_record(times.topics["actions"], 50 * HOUR, 1_000 * HOUR)

    assert not times.on_silence(["actions"], 1_000 * HOUR + 10_000, 10_000)
    assert times.on_silence(["actions"], 1_000 * HOUR + 70_000, 10_000)

    assert times.topics["actions"].now_ms == 50 * HOUR + 60_000


def test_pacing_is_the_same_however_often_it_is_looked_at():
    once, often = two_topics(), two_topics()
    for times in (once, often):
        times.on_record(times.topics["actions"], 50 * HOUR, 1_000 * HOUR)
    for second in range(11, 601):
        often.on_silence(["actions"], 1_000 * HOUR + second * 1_000, 10_000)
    once.on_silence(["actions"], 1_000 * HOUR + 600_000, 10_000)

    assert once.topics["actions"].now_ms == often.topics["actions"].now_ms


def test_a_topic_that_never_had_a_record_starts_at_the_smallest_time_seen():
    times = two_topics()
    times.on_record(times.topics["actions"], 50 * HOUR, 1_000 * HOUR)
    times.on_record(times.topics["actions"], 60 * HOUR, 1_001 * HOUR)

    times.on_silence(["interactions"], 1_001 * HOUR, 10_000)

    assert times.topics["interactions"].now_ms == 50 * HOUR + HOUR - 10_000


def test_a_clock_record_moves_every_topic_and_never_back():
    times = two_topics()
    times.on_clock(90 * HOUR, 1_000 * HOUR)
    times.on_clock(80 * HOUR, 1_000 * HOUR)

    assert times.settled_ms == 89 * HOUR


def test_a_silence_after_a_clock_record_paces_on_from_where_that_went():
    times = two_topics()
    times.on_record(times.topics["actions"], 50 * HOUR, 1_000 * HOUR)
    times.on_clock(900 * HOUR, 1_001 * HOUR)
    times.on_clock(800 * HOUR, 1_002 * HOUR)

    times.on_silence(["actions", "interactions"], 1_001 * HOUR + 10_000, 10_000)
    assert times.settled_ms == 899 * HOUR

    times.on_silence(["actions", "interactions"], 1_001 * HOUR + 70_000, 10_000)
    assert times.settled_ms == 899 * HOUR + 60_000


def test_a_task_without_any_record_paces_from_its_first_clock_record():
    times = two_topics()
    times.on_clock(900 * HOUR, 1_001 * HOUR)

    times.on_silence(["actions", "interactions"], 1_002 * HOUR, 10_000)

    assert times.settled_ms == 900 * HOUR - 10_000
