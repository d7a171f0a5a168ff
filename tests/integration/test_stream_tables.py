"""What `calibration-updates` says of streams, written by the publisher's way to a real Postgres."""

import random
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from agents_topics.topics import CALIBRATION_UPDATES
from sinks.postgres import statements
from sinks.postgres.migrate import migrate
from sinks.postgres.queries import run_bound, run_sql
from sinks.postgres.writer import PostgresWriter
from tests.told import every_kind, stream

UPDATES = CALIBRATION_UPDATES.name
AT = datetime(2026, 1, 5, 0, 0, 0, 1000, tzinfo=UTC)
MS = timedelta(milliseconds=1)
TABLES = [staged.table for staged in statements.CALIBRATION]


@pytest.fixture(scope="module")
def url(database_url):
    migrate(database_url)
    return database_url


@pytest.fixture
async def written(url):
    """Writes records at their offsets in a partition of the test's own."""
    partition, place = random.SystemRandom().randrange(1 << 30), 0
    async with PostgresWriter(url) as writer:

        async def write(*records, first=None):
            nonlocal place
            offset = place if first is None else first
            values = list(enumerate(map(msgspec.json.encode, records), offset))
            await writer.write(UPDATES, partition, place, place + len(records), values)
            place += len(records)

        yield write


async def of_tenant(url, table, columns, tenant):
    order = "record_set" if "record_set" in columns else "1"
    sql = f"SELECT {columns} FROM tenant.{table} WHERE tenant_id = $1 ORDER BY {order}"
    return (await run_bound(url, sql, tenant)).rows


SUMS = "n, sp, spp, sy, spy, excluded_n, excluded_sp, excluded_spp, positive_count, negative_count"
ALL, LEAD = (2, 1_500_000, 10**37, 1, 800_000, 0, 0, 0, 1, 0), (1, 700_000, 490_000_000_000)
LEAD = (*LEAD, 0, 0, 4, 0, 0, None, None)
NATS, ONES = Decimal("1e-9"), Decimal("1e-6")


async def test_every_value_of_a_sum_reaches_its_column(url, written):
    tenant = str(uuid.uuid4())
    told = every_kind(tenant)
    await written(*told.values())

    bins = f"record_set, curve, bin_index, {SUMS}, last_settled_at, residuals, output_offset"
    assert await of_tenant(url, "calibration_stream_bins", bins, tenant) == [
        ("all", "settled", 7, *ALL, AT, [-5, 10**30], 0),
        ("lead", "settled", 7, *LEAD, AT, [], 0),
    ]
    days = f"record_set, action_day, known_day, bin_index, {SUMS}, expired_count"
    on = (date(2026, 1, 5), date(2026, 1, 6), 7)
    assert await of_tenant(url, "calibration_days", days, tenant) == [
        ("all", *on, *ALL, 1),
        ("lead", *on, *LEAD, None),
    ]
    segments = f"record_set, dimension, segment, bin_index, {SUMS}"
    assert await of_tenant(url, "calibration_segments", segments, tenant) == [
        ("all", "model", '"kind":"day"', 7, *ALL),
        ("lead", "model", '"kind":"day"', 7, *LEAD),
    ]
    delays = "window_ms, positive, negative, counts, sum_ms, output_offset"
    assert await of_tenant(url, "calibration_delays", delays, tenant) == [
        (86_400_000, [2, 2, 3, 4, 5, 6], [0] * 6, [1, 0, 9], 10**20, 4)
    ]


async def test_every_value_of_a_decision_reaches_its_column(url, written):
    tenant = str(uuid.uuid4())
    told = every_kind(tenant)
    await written(*told.values())
    key = tuple(stream(tenant).values())

    async def own(table):
        ((found_tenant, *row),) = await of_tenant(url, table, "*", tenant)
        assert (str(found_tenant), *row[:4]) == key
        return tuple(row[4:-3])

    assert await own("calibration_streams") == (
        "0123456789abcdef", AT, 2, 1, 2_995_732_274 * NATS, -7 * NATS, 10**14 * NATS, None,
        "no evidence", False, 0.1, 0.0, 0.2, -778_660 * ONES, 791_622 * ONES, AT + MS, 0,
        Decimal("0.7"), None, False, "not moved: too little evidence", AT + 2 * MS,
    )  # fmt: skip
    assert await own("calibration_alarms") == (
        1, AT, 2, 3_000_000_001 * NATS, "over-confident", "even", "too extreme", AT + 9 * MS,
        "person",
    )  # fmt: skip
    assert await own("threshold_adjustments") == (
        1, AT, "evidence", "increase", 0.05, 0.7, 0.75, "n=200: ō < f̄", ONES, None, 2, 4 * NATS,
        0.6, None, None, 0.71, 0, 100,
    )  # fmt: skip
    assert await own("calibration_maps") == (
        1, AT, 2, "monotone", -ONES, 2, [None, 0.25] + [None] * 8,
    )  # fmt: skip
    assert await own("calibration_trends") == (
        "calibration_gap", 2, 0.1, -0.25, None, "declining", "supported", "stable", -0.5, -0.2, 3,
        100, AT + 3 * MS,
    )  # fmt: skip


async def counts(url, tenant):
    """By table `n` of the rows over all records, and the offset that they came from."""
    found = {}
    for table in TABLES:
        columns = "counts[1] - 1 + positive[1]" if table == "calibration_delays" else "n"
        only = " AND record_set = 'all'" if table not in DECISIONS else ""
        sql = f"SELECT {columns}, output_offset FROM tenant.{table} WHERE tenant_id = $1{only}"
        (found[table],) = (await run_bound(url, sql, tenant)).rows
    return {table: (int(n), offset) for table, (n, offset) in found.items()}


DECISIONS = {
    "calibration_delays",
    "calibration_streams",
    "calibration_alarms",
    "threshold_adjustments",
    "calibration_maps",
    "calibration_trends",
}


async def test_the_last_record_of_each_key_is_written_and_an_older_version_refused(url, written):
    tenant = str(uuid.uuid4())
    await written(*every_kind(tenant, 5).values(), *every_kind(tenant, 7).values())
    last = await counts(url, tenant)
    await written(*every_kind(tenant, 9).values(), first=0)
    still = await counts(url, tenant)
    await written(*every_kind(tenant, 11).values())
    newer = await counts(url, tenant)

    assert last == {table: (7, len(TABLES) + place) for place, table in enumerate(TABLES)}
    assert still == last
    assert {n for n, _ in newer.values()} == {11}


async def test_two_tenants_in_a_batch_are_each_written_and_seen_by_themselves_alone(url, written):
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    await written(*every_kind(one, 3).values(), *every_kind(other, 4).values())

    for table in TABLES:
        seen = await run_sql(
            url, f"SELECT DISTINCT tenant_id FROM tenant.{table}", "trueup_api", other
        )
        assert [str(row[0]) for row in seen.rows] == [other]
    assert {n for n, _ in (await counts(url, one)).values()} == {3}
    assert {n for n, _ in (await counts(url, other)).values()} == {4}


async def test_what_a_promotion_has_added_is_added_to_all_that_the_calibrator_says_later(
    url, written
):
    tenant = str(uuid.uuid4())
    told = every_kind(tenant)
    await written(*told.values())
    for staged in statements.CALIBRATION:
        if staged.corrections:
            sums = staged.corrections.sums
            values = [*("10" for _ in sums), *("'{1,2,3}'" for _ in staged.corrections.lists)]
            named = [*sums, *staged.corrections.lists]
            only = " AND record_set = 'all'" if "record_set" in staged.keys else ""
            await run_sql(
                url,
                f"INSERT INTO tenant.{staged.corrections.table}"
                f" ({', '.join([*staged.keys, *named])})"
                f" SELECT {', '.join([*staged.keys, *values])} FROM tenant.{staged.table}"
                f" WHERE tenant_id = '{tenant}'{only}",
            )
    await written(*told.values())

    ten = tuple(n + 10 for n in ALL)
    for table in ("calibration_stream_bins", "calibration_days", "calibration_segments"):
        found = await of_tenant(url, table, f"record_set, {SUMS}", tenant)
        assert found == [("all", *ten), ("lead", *LEAD)]
    assert await of_tenant(url, "calibration_stream_bins", "record_set, residuals", tenant) == [
        ("all", [-4, 10**30 + 2, 3]),
        ("lead", []),
    ]
    assert await of_tenant(url, "calibration_delays", "positive, counts, sum_ms", tenant) == [
        ([3, 4, 6, 4, 5, 6], [2, 2, 12], 10**20 + 10)
    ]
    assert await of_tenant(
        url, "calibration_label_rates", "record_set, n, positive_count, actual_rate", tenant
    ) == [("all", 12, 11, 11 / 12), ("lead", 0, 0, None)]
