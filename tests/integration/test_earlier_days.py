"""Of each stream the last days are kept by the day, those before as sums: nothing else changes."""

import asyncio
import random
import uuid
from dataclasses import replace
from itertools import chain

import msgspec
import pytest

from agents_topics.policy_file import load_policy
from agents_topics.topics import CALIBRATION_UPDATES
from sinks.postgres.bulk import BulkWriter
from sinks.postgres.calibration_readings import stream_days
from sinks.postgres.checksums import checksums
from sinks.postgres.connect import connect
from sinks.postgres.differences import differences
from sinks.postgres.earlier_days import add_up_days
from sinks.postgres.migrate import migrate
from sinks.postgres.promotion import _correct
from sinks.postgres.queries import run_sql
from sinks.postgres.writer import PostgresWriter, count_times_from_1970
from streams.foretell import foretell_again
from tables.day_curve import Span, day_bins
from tests.day_rows import day_rows, earlier_days
from tests.integration.test_forecasts import LAST_DAY, Publisher, known_at, rows, told_of
from tests.stored_stream import DAY, FIRST_DAY, Agent, outcomes_of, stream_of
from tests.told import every_kind, stream
from trueup.curve import Asked, NotKept, read_curves
from trueup.foretelling import read_forecasts

KEPT = 12
UPDATES = CALIBRATION_UPDATES.name


@pytest.fixture
def outcomes():
    return outcomes_of(str(uuid.uuid4()), Agent(a_day=20))


@pytest.fixture
async def publisher(own_database_url):
    await asyncio.to_thread(migrate, own_database_url)
    async with PostgresWriter(own_database_url) as writer:
        yield Publisher(own_database_url, writer, days_kept=KEPT)


async def days_of(publisher, outcome):
    return await stream_days(publisher.url, stream_of(outcome))


def whole(days):
    """The bins of all days."""
    return day_bins(chain(*days), Span())


async def test_day_after_day_or_replayed_the_same_days_are_left_and_no_forecast_changes(
    publisher, outcomes, database_url
):
    """Of one day at most is kept, and what a forecast without its score will ask for."""
    keeping = Publisher(publisher.url, publisher.writer)
    await keeping.store(outcomes)
    forecasts, every_day = await keeping.foretell(), await days_of(keeping, outcomes[0])
    await run_sql(publisher.url, "TRUNCATE tenant.calibration_days, tenant.calibration_forecasts")
    publisher = Publisher(publisher.url, publisher.writer, days_kept=1)
    publisher.offsets.update(keeping.offsets)
    for day in range(LAST_DAY - 15, LAST_DAY):
        await publisher.store(known_at(outcomes, day))
        await publisher.foretell()
    await publisher.store(outcomes)
    lived = await publisher.foretell()
    kept, earlier = await days_of(publisher, outcomes[0])

    await asyncio.to_thread(migrate, database_url)
    async with BulkWriter(database_url) as bulk:
        await bulk.write(outcomes, 0)
        await bulk.write_calibration(told_of(outcomes))
        await foretell_again(bulk, 1)
        live, made = await checksums(publisher.url), await checksums(database_url)
        rows_made = await rows(database_url)
        await bulk.clear_calibration()

    assert every_day[1] == []
    assert lived == rows_made == forecasts
    assert (live.days, live.forecasts) == (made.days, made.forecasts)
    unscored = min(day for day, (*_, came) in lived.items() if came is None)
    assert {row.known_day for row in kept} == set(range(unscored + 1, LAST_DAY + 2))
    assert unscored < LAST_DAY
    assert {row.known_day for row in earlier} <= set(range(unscored + 1))
    assert 0 < len(earlier) <= 10
    assert whole((kept, earlier)) == whole(every_day)


async def test_what_is_told_again_of_days_that_are_not_kept_changes_nothing(publisher, outcomes):
    await publisher.store(outcomes)
    await publisher.foretell()
    before = await days_of(publisher, outcomes[0])

    await publisher.tell(outcomes)

    assert await days_of(publisher, outcomes[0]) == before


async def test_what_a_promotion_changes_among_days_that_are_not_kept_is_in_their_sums(
    publisher, outcomes
):
    await publisher.store(outcomes)
    await publisher.foretell()
    settled = [o for o in outcomes if o.is_settled]
    went, left = settled[::3], [o for o in settled if o not in settled[::3]]
    connection = await connect(publisher.url)
    await count_times_from_1970(connection)
    async with connection.transaction():
        await connection.execute("SET LOCAL ROLE trueup_writer")
        await _correct(connection, differences(sums_told(went), []))
    await connection.close()
    kept, earlier = await days_of(publisher, outcomes[0])
    await publisher.tell(outcomes)

    expected = told_days(left)
    assert whole((kept, earlier)) == day_bins(expected, Span())
    assert min(row.known_day for row in kept) == LAST_DAY + 2 - KEPT
    assert 0 < len(earlier) <= 10
    assert await days_of(publisher, outcomes[0]) == (kept, earlier)
    corrected = "SELECT count(*), -sum(n) FROM tenant.calibration_day_corrections WHERE known_day"
    until = f"<= date '1970-01-01' + {LAST_DAY + 1 - KEPT} AND record_set = 'all'"
    ((count, n),) = (await run_sql(publisher.url, f"{corrected} {until}")).rows
    said = [o for o in went if o.settled_at_ms // DAY <= LAST_DAY + 1 - KEPT]
    assert (count <= 10, n) == (True, sum(o.status != "ambiguous" for o in said))


def sums_told(outcomes):
    kinds = ("day", "segment", "delay")
    return [one for one in told_of(outcomes) if getattr(one, "kind", None) in kinds]


def told_days(outcomes):
    return [one for one in told_of(outcomes) if getattr(one, "kind", None) == "day"]


async def test_a_curve_of_days_that_are_not_kept_is_refused_and_others_are_what_they_were(
    publisher, outcomes
):
    """The first day of settle times that is kept is the last one less eleven."""
    told = outcomes[0]

    async def read(span=None, **asked):
        of = Asked(span or Span(), **asked)
        policy = load_policy(None)
        (curve,) = await read_curves(publisher.url, policy, told.tenant_id, told.action_type, of)
        return curve

    await publisher.store(outcomes)
    summed_up_to = LAST_DAY + 1 - KEPT
    asked = [
        {"days": 9}, {"span": Span(since_day=summed_up_to)},
        {"span": Span(known_by_day=summed_up_to)}, {"span": Span(half_life_days=0.2)},
    ]  # fmt: skip
    before = [await read(**one) for one in asked]
    every = await read()
    await publisher.foretell()

    after = [await read(**one) for one in asked]
    assert [one.bins for one in after] == [one.bins for one in before]
    now = await read()
    assert (now.bins, now.tested, now.last_day) == (every.bins, every.tested, every.last_day)
    assert (every.first_day, now.first_day, now.summed_up_to) == (FIRST_DAY, None, summed_up_to)
    for refused in (
        {"days": 30}, {"span": Span(since_day=FIRST_DAY + 3)}, {"span": Span(half_life_days=7.0)},
        {"span": Span(known_by_day=summed_up_to - 1)}, {"span": Span(until_day=FIRST_DAY + 9)},
    ):  # fmt: skip
        with pytest.raises(
            NotKept, match=r"since 2026-01-30, .* since 2026-02-01; .* one sum \(TRUEUP_DAYS_KEPT\)"
        ):
            await read(**refused)


async def test_a_forecast_of_before_says_that_it_can_no_longer_be_made_and_stored_ones_stay(
    publisher, outcomes
):
    async def read(as_of_day):
        about = publisher.url, outcomes[0].tenant_id, outcomes[0].action_type
        (told,) = await read_forecasts(*about, as_of_day, 40)
        return told

    await publisher.store(outcomes)
    summed_up_to = LAST_DAY + 1 - KEPT
    before = {day: await read(day) for day in (None, summed_up_to)}
    await publisher.foretell()
    after = {day: await read(day) for day in (None, summed_up_to)}
    old = await read(summed_up_to - 1)

    assert [one.made for one in after.values()] == [one.made for one in before.values()]
    assert after[None].past == before[None].past
    assert old.made is None
    assert "is older than what is kept by the day" in old.why_not


async def test_a_successor_makes_no_forecast_of_days_that_are_not_kept(publisher, outcomes):
    await publisher.store(outcomes)
    lived = await publisher.foretell()
    _, earlier = await days_of(publisher, outcomes[0])
    await run_sql(publisher.url, "DELETE FROM tenant.calibration_forecasts")

    made = await publisher.successor().foretell()

    last = max(row.known_day for row in earlier)
    assert made == {day: told for day, told in lived.items() if day > last}
    assert len(made) > KEPT / 2


async def test_days_are_added_up_as_one_would_by_hand_in_any_number_of_steps(publisher):
    """Beside the last day a stream's row says when its test began: that is not summed over."""
    draw = random.Random(4)
    records = [
        (draw.randrange(10**6), draw.choice((0, 1, None)), day := draw.randrange(40),
         day + draw.randrange(4), draw.random() < 0.6)
        for _ in range(400)
    ]  # fmt: skip
    for tested_since in (0, 17, 30, 60):
        tenant = str(uuid.uuid4())
        key = stream(tenant)
        told = [replace(row, **key) for row in day_rows(records)]
        stands = replace(
            every_kind(tenant)["calibration_streams"], **key, tested_since_ms=tested_since * DAY
        )
        await publisher.write(UPDATES, [*told, stands])
        connection = await connect(publisher.url)
        await count_times_from_1970(connection)
        for closed_day in (9, 10, 22, 30):
            await add_up_days(connection, tuple(key.values()), closed_day, 1)
        await connection.close()

        expected = earlier_days(told, 30, tested_since)
        found = await stream_days(publisher.url, tuple(key.values()))
        assert [ordered(some) for some in found] == [ordered(some) for some in expected]


def ordered(days):
    named = [
        replace(one, counts={k: n for k, n in sorted(one.counts.items()) if n}) for one in days
    ]
    return sorted(map(msgspec.json.encode, named))
