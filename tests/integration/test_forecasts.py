"""Forecasts in Postgres: made by a publisher beside its rows, the same as who reads would make."""

import asyncio
import uuid
from dataclasses import dataclass, field, replace
from itertools import chain
from types import SimpleNamespace

import msgspec
import pytest
from aiokafka.errors import KafkaConnectionError

from agents_topics.topics import CALIBRATION_UPDATES, OUTCOMES
from sinks.postgres.bulk import BulkWriter
from sinks.postgres.calibration_readings import day_delays, followed_actions, stream_days
from sinks.postgres.checksums import checksums
from sinks.postgres.connect import connect
from sinks.postgres.migrate import migrate
from sinks.postgres.queries import run_sql
from sinks.postgres.writer import PostgresWriter
from streams import foretell
from streams.foretell import Foretelling, foretell_again
from streams.settings import DAYS_KEPT
from streams.task import Busy
from tables.open_actions import DayDelays, Followed
from tables.past_forecasts import History, end_of, forecast_at, scored_forecasts
from tables.stream_records import emptied_of, records_of
from tests.stored_stream import FIRST_DAY, Agent, folded, outcomes_of, stream_of
from trueup.foretelling import read_forecasts

NAME = OUTCOMES.name
ROWS, DAY_ZERO = "FROM tenant.calibration_forecasts", "date '1970-01-01'"
LAST_DAY = FIRST_DAY + Agent().days - 2
"""The last one that has closed: outcomes have settled a day later."""


@dataclass
class Log:
    """A broker's word on `outcomes`: where its partitions end, and what of that are markers."""

    ends: dict[int, int] = field(default_factory=dict)
    markers: int = 1
    problem: Exception | None = None

    async def high_watermarks(self, topics, partition):
        if self.problem:
            raise self.problem
        return {topic: self.ends[partition] for topic in topics}

    async def is_empty(self, topic, partition, begin, end):
        return end - begin <= self.markers


class Publisher:
    """A partition of updates and one of outcomes, in a database of their own."""

    def __init__(self, url, writer, patience=None, days_kept=DAYS_KEPT):
        self.url, self.writer = url, writer
        self.offsets = {NAME: 0, CALIBRATION_UPDATES.name: 0}
        self.log = Log({0: 0})
        tools = SimpleNamespace(
            names={NAME: NAME}, broker=self.log, partition_count=1, foretelling=asyncio.Lock(),
            days_kept=days_kept,
        )  # fmt: skip
        self.writing = asyncio.Lock()
        self.forecasts = Foretelling(0, tools, patience or writer, self.offsets, self.writing)

    def successor(self, patience=None):
        """Another worker that takes the partitions to stand where this one left them."""
        heir = Publisher(self.url, self.writer, patience)
        heir.offsets.update(self.offsets)
        heir.log.ends = dict(self.log.ends)
        return heir

    async def write(self, topic, events):
        begin = self.offsets[topic]
        records = list(enumerate(map(msgspec.json.encode, events), begin))
        self.offsets[topic] = begin + len(records)
        await self.writer.write(topic, 0, begin, self.offsets[topic], records)

    async def tell(self, outcomes):
        await self.write(CALIBRATION_UPDATES.name, told_of(outcomes))

    async def store(self, outcomes):
        await self.write(NAME, outcomes)
        self.log.ends[0] = self.offsets[NAME] + 1
        await self.tell(outcomes)

    async def foretell(self):
        """Looks and makes what it has found, until there is nothing to do."""
        while await self.forecasts.turn() == foretell.NEXT_S:
            pass
        return await rows(self.url)


def told_of(outcomes):
    """What the calibrator tells of those that have settled."""
    return [record for _, record in records_of(folded(outcomes))]


async def rows(url):
    """By day: how many waited, the expected number and its interval, how many came."""
    answer = await run_sql(
        url,
        f"SELECT as_of_day - {DAY_ZERO}, waiting, expected, low, high, came {ROWS} ORDER BY 1",
    )
    return {day: told for day, *told in answer.rows}


@pytest.fixture
async def publisher(own_database_url):
    await asyncio.to_thread(migrate, own_database_url)
    async with PostgresWriter(own_database_url) as writer:
        yield Publisher(own_database_url, writer)


@pytest.fixture
def outcomes():
    return outcomes_of(str(uuid.uuid4()), Agent(a_day=20))


def known_at(outcomes, day):
    """What had been said of these outcomes when nearly another day had passed."""
    at_ms = end_of(day) + 82_800_000
    return [
        one
        if one.settled_at_ms < at_ms
        else replace(
            one,
            is_settled=False,
            is_lead=None,
            status=one.status if is_heard(one, at_ms) else "pending",
            resolved_at_ms=one.resolved_at_ms if is_heard(one, at_ms) else None,
        )
        for one in outcomes
        if one.created_at_ms < at_ms
    ]


def is_heard(one, at_ms):
    return one.status not in ("pending", "expired") and one.resolved_at_ms < at_ms


async def history_of(url, stream):
    return History(
        [Followed(*row) for row in await followed_actions(url, stream, 0)],
        [DayDelays(*row) for row in await day_delays(url, stream)],
        list(chain(*await stream_days(url, stream))),
        stream.window_ms,
    )


async def on_reading(url, stream, closed_day):
    """What is made of the rows by who reads them, for every day up to the last closed one."""
    told = await history_of(url, stream)
    scored = {one.day: one.came for one in scored_forecasts(told, range(FIRST_DAY, closed_day))}
    found = {}
    for day in range(FIRST_DAY, closed_day + 1):
        made = forecast_at(told, end_of(day), day)
        if made:
            figures = [made.count, made.expected, made.low, made.high]
            found[day] = [*figures, scored.get(day)]
    return found


async def test_what_is_stored_is_what_is_made_when_it_is_read_bit_for_bit(publisher, outcomes):
    await publisher.store(outcomes)

    stored = await publisher.foretell()

    read = await on_reading(publisher.url, stream_of(outcomes[0]), LAST_DAY)
    # A score counts when what is behind it has settled on a closed day.
    is_over = {day: day + 3 <= LAST_DAY for day in read}
    assert {d: told if is_over[d] else [*told[:-1], None] for d, told in read.items()} == stored
    assert len(stored) > 25
    assert sum(told[-1] is not None for told in stored.values()) > 20


async def test_day_after_day_gives_the_same_rows_as_all_at_once_as_does_a_replay(
    publisher, outcomes, database_url
):
    for day in range(LAST_DAY - 7, LAST_DAY):
        await publisher.store(known_at(outcomes, day))
        assert max(await publisher.foretell()) == day
    await publisher.store(outcomes)
    lived = await publisher.foretell()

    await asyncio.to_thread(migrate, database_url)
    async with BulkWriter(database_url) as bulk:
        await bulk.write(outcomes, 0)
        await bulk.write_calibration(told_of(outcomes))
        counts = [await foretell_again(bulk, DAYS_KEPT) for _ in range(2)]
        live, made = await checksums(publisher.url), await checksums(database_url)
        rows_made = await rows(database_url)
        await bulk.clear_calibration()

    assert lived == rows_made
    assert live.forecasts == made.forecasts
    assert live.forecasts.rows == sum(told[-1] is not None for told in lived.values()) > 20
    assert counts == [len(lived), 0]
    assert await rows(database_url) == {}


async def test_who_reads_takes_the_scores_that_are_stored_and_makes_the_others(publisher, outcomes):
    async def read():
        asked = publisher.url, outcomes[0].tenant_id, outcomes[0].action_type, None, 12
        (told,) = await read_forecasts(*asked)
        return told

    await publisher.store(outcomes)
    before = await read()
    await publisher.foretell()
    stored = await read()
    await run_sql(publisher.url, "UPDATE tenant.calibration_forecasts SET came = came + 100")
    *scored, last = [one.came for one in before.past]

    assert stored == before
    # The last day's has no score yet in the table: its outcomes settle on a day that is not over.
    assert [one.came for one in (await read()).past] == [*(came + 100 for came in scored), last]


async def test_nothing_is_made_before_all_that_outcomes_had_is_written(publisher, outcomes):
    """The calibrator may be ahead of another publisher: its partition says who still waits."""
    late = 40
    await publisher.write(NAME, outcomes[:-late])
    publisher.log.ends[0] = len(outcomes) + publisher.log.markers
    await publisher.tell(outcomes)
    assert await publisher.foretell() == {}

    await publisher.write(NAME, outcomes[-late:])
    stored = await publisher.foretell()

    read = await on_reading(publisher.url, stream_of(outcomes[0]), LAST_DAY)
    assert {day: told[:-1] for day, told in stored.items()} == {d: t[:-1] for d, t in read.items()}


async def test_a_score_stays_and_what_has_none_yet_is_made_anew_with_it(publisher, outcomes):
    await publisher.store(known_at(outcomes, LAST_DAY - 1))
    before = await publisher.foretell()
    await publisher.store(outcomes)
    after = await publisher.foretell()

    assert {d: told[:-1] for d, told in before.items()} == {
        d: told[:-1] for d, told in after.items() if d in before
    }
    assert [d for d in before if after[d] != before[d]] == [LAST_DAY - 3]
    assert sorted(set(after) - set(before)) == [LAST_DAY]


async def test_a_successor_makes_what_is_missing_and_a_zombie_is_told_to_go(publisher, outcomes):
    await publisher.store(outcomes)
    whole = await publisher.foretell()
    await run_sql(publisher.url, f"DELETE {ROWS} WHERE as_of_day > {DAY_ZERO} + {LAST_DAY - 6}")
    heir = publisher.successor()
    assert await heir.foretell() == whole

    await run_sql(publisher.url, f"DELETE {ROWS} WHERE as_of_day > {DAY_ZERO} + {LAST_DAY - 6}")
    zombie = heir.successor()
    await heir.tell(outcomes)
    with pytest.raises(Busy):
        await zombie.foretell()


async def test_a_forecast_that_postgres_cannot_make_now_is_put_off_and_holds_up_no_rows(
    publisher, outcomes
):
    async with PostgresWriter(publisher.url, command_timeout_s=2) as impatient:
        slow, told = publisher.successor(impatient), told_of(outcomes)
        await slow.store(outcomes)
        other = await connect(publisher.url)
        await other.execute("BEGIN; LOCK TABLE tenant.calibration_forecasts")
        turn = asyncio.create_task(slow.forecasts.turn())
        await slow.write(CALIBRATION_UPDATES.name, told)
        assert await turn == foretell.PUT_OFF_S
        await other.close()
        assert await rows(publisher.url) == {}

        assert len(await slow.foretell()) > 25


class Gate:
    """What a publisher holds while it writes, held until it is opened; says who has come to it."""

    def __init__(self):
        self.came, self.opened = asyncio.Event(), asyncio.Event()

    async def __aenter__(self):
        self.came.set()
        await self.opened.wait()

    async def __aexit__(self, *_):
        pass


@pytest.fixture
async def waiting(publisher, outcomes):
    """A publisher whose first forecasts are made and wait to be written."""
    publisher.forecasts._writing = Gate()
    await publisher.store(outcomes)
    publisher.forecasts.start()
    publisher.forecasts.go_on(is_drained=True)
    await publisher.forecasts._writing.came.wait()
    yield publisher
    await publisher.forecasts.close()


async def ended(forecasts):
    """What has ended them, as the task would be told."""
    async with asyncio.timeout(60):
        try:
            while True:
                forecasts.go_on(is_drained=True)
                await asyncio.sleep(0.01)
        except Exception as problem:
            return problem


async def test_the_publisher_goes_on_while_forecasts_are_made(waiting):
    await waiting.tell(outcomes_of(str(uuid.uuid4()), Agent(days=6)))

    waiting.forecasts._writing.opened.set()

    async with waiting.forecasts._tools.foretelling:
        assert len(await rows(waiting.url)) > 25
    waiting.forecasts.go_on(is_drained=True)


async def test_what_another_worker_has_written_meanwhile_ends_them(waiting, outcomes):
    await waiting.successor().tell(outcomes)

    waiting.forecasts._writing.opened.set()

    assert isinstance(await ended(waiting.forecasts), Busy)
    assert await rows(waiting.url) == {}


@pytest.mark.parametrize("is_told_anew", [False, True])
async def test_of_a_stream_that_is_forgotten_meanwhile_none_is_written(
    waiting, outcomes, is_told_anew
):
    gone = [record for _, record in emptied_of(folded(outcomes))]
    await waiting.write(CALIBRATION_UPDATES.name, gone)
    if is_told_anew:
        await waiting.tell(outcomes[: len(outcomes) // 2])

    waiting.forecasts._writing.opened.set()
    async with waiting.forecasts._tools.foretelling:
        assert await rows(waiting.url) == {}

    waiting.forecasts.go_on(is_drained=True)


async def test_whoever_closes_them_leaves_nothing_half_written(waiting):
    job = waiting.forecasts._job
    async with asyncio.timeout(1):
        await waiting.forecasts.close()

    assert job.cancelled()
    assert await rows(waiting.url) == {}
    assert len(await waiting.successor().foretell()) > 25


async def test_a_bug_in_them_is_told_to_the_task_and_a_broker_that_is_away_puts_them_off(
    publisher, outcomes
):
    await publisher.store(outcomes)
    ends, publisher.log.ends = publisher.log.ends, {}
    publisher.forecasts.start()

    assert isinstance(await ended(publisher.forecasts), KeyError)

    heir = publisher.successor()
    heir.log.ends, heir.log.problem = ends, KafkaConnectionError()
    assert await heir.forecasts.turn() == foretell.PUT_OFF_S
    heir.log.problem = None
    assert len(await heir.foretell()) > 25
