"""What is known of streams, told step by step as live tells it, and made anew from the rows."""

import random
import uuid
from dataclasses import fields, replace

import msgspec
import pytest

from agents_topics.policy_file import parse_policy
from agents_topics.topics import CALIBRATION_UPDATES, OUTCOMES
from sinks.postgres import statements
from sinks.postgres.bulk import BulkWriter
from sinks.postgres.checksums import checksums
from sinks.postgres.migrate import migrate
from sinks.postgres.promotion import promote_shadow
from sinks.postgres.queries import run_bound, run_sql
from sinks.postgres.settled_rows import LIVE, SHADOW, entering
from sinks.postgres.shadow_compare import compare_shadow
from sinks.postgres.shadows import begin_shadow, end_shadow
from sinks.postgres.writer import PostgresWriter
from tables.calibration_bins import millionths_of, y_of
from tables.label_rates import count, empty_rate, told
from tables.stream import Stream
from tables.stream_calibration import Override, StreamFold, rule_of
from tables.stream_records import records_of
from tables.stream_rows import take_rows
from tables.stream_sums import Settled
from tests.integration.test_postgres_writer import outcome
from trueup.stream_replay import decided_by_people, replayed_streams, standing_of, sums_of

HOUR = 3_600_000
START = 1_767_571_200_000
POLICY = parse_policy(
    """
[[version]]
segments = ["model"]
[[version.action_types.send]]
type = "reply"
calibrates = true
window_hours = 4
signals = [{ kind = "reply", means = "positive" }]
[[version]]
effective_from = "2026-01-09T00:00:00Z"
segments = ["model", "deal_stage", "channel"]
[[version.action_types.send]]
type = "reply"
calibrates = true
window_hours = 4
target_success = 0.8
signals = [{ kind = "reply", means = "positive" }]
"""
)
END_MS = START + 10_000 * HOUR


def settled(tenant, seed, size):
    """Outcomes of an over-confident agent, and words, in the order in which they enter."""
    dice = random.Random(seed)
    made = [an_outcome(dice, tenant, number) for number in range(size)]
    return sorted(
        made, key=lambda o: (o.settled_at_ms, o.created_at_ms, o.action_id, o.conversation_id)
    )


def an_outcome(dice, tenant, number):
    at_ms = START + dice.randrange(400) * HOUR // 2
    stated = dice.choice([0.55, 0.65, 0.75, 0.85, 0.95])
    status = "positive" if dice.random() < stated - 0.3 else dice.choice(["negative", "expired"])
    if dice.random() < 0.05:
        status = "ambiguous"
    word = dice.random() < 0.1
    return replace(
        outcome(tenant_id=tenant),
        id=str(uuid.UUID(int=dice.getrandbits(128))),
        conversation_id=dice.choice(["C", "a", "é", "Z"]) + str(number),
        action_id=dice.choice(["B", "a", "ß", "_"]),
        action_type="send",
        outcome_type="reply",
        confidence_source=dice.choice(["judge", "logprob"]),
        predicted_confidence=None if word else stated,
        confidence_label=dice.choice(["high", "low"]) if word else None,
        status=status,
        decided_by=None if status == "expired" else "e",
        created_at_ms=at_ms,
        window_expires_at_ms=at_ms + 4 * HOUR,
        settled_at_ms=at_ms + 4 * HOUR,
        resolved_at_ms=at_ms + (4 * HOUR if status == "expired" else dice.randrange(4 * HOUR)),
        is_settled=True,
        is_lead=dice.random() < 0.9,
        policy_version=POLICY.version_at(at_ms).digest,
        model=dice.choice([None, "m1", "m2"]),
        deal_stage=dice.choice([None, "discovery"]),
        channel=(None, "mail", "chat")[number % 3],
        agent_version="2" if number > 400 else "1",
    )  # fmt: skip


class LiveStreams:
    """Folds of streams that tell what has changed whenever they are asked."""

    def __init__(self):
        self.folds, self.labels, self.last_ms = {}, {}, 0

    def take(self, one):
        window_ms = one.window_expires_at_ms - one.created_at_ms
        key = (one.tenant_id, one.action_type, one.outcome_type, window_ms)
        stream = Stream(*key, one.confidence_source)
        y, version = y_of(one.status, one.expired_counts), POLICY.by_digest[one.policy_version]
        self.last_ms = one.settled_at_ms
        if one.predicted_confidence is None:
            label = (stream, one.confidence_label)
            rate = self.labels.setdefault(label, empty_rate(*label))
            count(rate, one.status, y, one.is_lead, one.settled_at_ms)
            return
        delay_ms = None if one.decided_by is None else one.resolved_at_ms - one.created_at_ms
        values = tuple((name, getattr(one, name) or "") for name in version.segments)
        self.folds.setdefault(stream, StreamFold(stream)).update(
            Settled(
                one.settled_at_ms, one.created_at_ms, millionths_of(one.predicted_confidence), y,
                one.status, one.is_lead, one.policy_version, delay_ms, one.agent_version, values,
            ),
            rule_of(version, stream),
        )  # fmt: skip

    def decide(self, cause, value=None):
        """A person decides, of every stream, between two settle times."""
        for fold in self.folds.values():
            fold.on_override(Override(self.last_ms, cause, value, "ann by hand"), fold.rule)

    def told(self):
        for rate in self.labels.values():
            yield told(rate)
        for fold in self.folds.values():
            yield from (record for _, record in records_of(fold))
            take_rows(fold)


async def lived(url, outcomes, seed):
    """Steps of any size, with decisions of a person between settle times."""
    dice, live, place, decisions = random.Random(seed), LiveStreams(), 0, []
    partition, offsets = random.SystemRandom().randrange(1 << 30), {}
    decide = {200: ("set", 640_000), 300: ("release",), 420: ("roll_back",), 500: ("close_alarm",)}
    async with PostgresWriter(url) as writer:

        async def write(topic, values):
            first = offsets.get(topic, 0)
            offsets[topic] = first + len(values)
            records = list(enumerate(map(msgspec.json.encode, values), first))
            await writer.write(topic, partition, first, offsets[topic], records)

        await write(OUTCOMES.name, outcomes)
        while place < len(outcomes):
            size = dice.randrange(1, 120)
            for one in outcomes[place : place + size]:
                if decide and place >= min(decide) and one.settled_at_ms > live.last_ms:
                    live.decide(*decide.pop(min(decide)))
                live.take(one)
                place += 1
            now = list(live.told())
            decisions += now
            await write(CALIBRATION_UPDATES.name, now)
    return decisions


async def replayed(url, outcomes, decisions, pieces=1):
    """The rows in any order, each piece followed by all that is to be told."""
    dice = random.Random(1)
    mixed = dice.sample(outcomes, len(outcomes))
    async with BulkWriter(url) as writer:
        for piece in range(pieces):
            await writer.write(mixed[piece::pieces], 0)
            await writer.clear_calibration()
            overrides = decided_by_people(last_decisions(decisions))
            rows = entering(url, LIVE, END_MS, "[]")
            async for stream in replayed_streams(rows, POLICY, overrides):
                await writer.write_calibration(stream.end())


def last_decisions(decisions):
    """As a compacted topic has them: of each the last."""
    last = {}
    for one in decisions:
        if getattr(one, "kind", None) in ("alarm", "adjustment"):
            last[one.confidence_source, one.kind, one.number] = one
    return last.values()


@pytest.fixture(scope="module")
def url(database_url):
    migrate(database_url)
    return database_url


@pytest.fixture
def beside(own_database_url):
    migrate(own_database_url)
    return own_database_url


async def counts(url):
    found = await checksums(url)
    return {one.name: getattr(found, one.name).rows for one in fields(found)}


async def test_a_replay_comes_to_the_same_bits_as_live_whatever_its_steps(url, beside):
    outcomes = settled(str(uuid.uuid4()), 5, 900)
    decisions = await lived(url, outcomes, 7)
    await replayed(beside, outcomes, decisions)
    live, made = await checksums(url), await checksums(beside)

    assert made == live
    # Forecasts are the publisher's, of outcomes that are open.
    assert min(n for name, n in (await counts(beside)).items() if name != "forecasts") > 0
    causes = await run_sql(
        beside, "SELECT cause, count(*) FROM tenant.threshold_adjustments GROUP BY 1 ORDER BY 1"
    )
    closed = await run_sql(beside, "SELECT DISTINCT closed_by FROM tenant.calibration_alarms")
    assert {cause for cause, _ in causes.rows} == {"evidence", "set", "release", "roll_back"}
    assert ("person",) in closed.rows


async def test_in_pieces_that_grow_nothing_of_an_earlier_piece_is_left(url, beside):
    outcomes = settled(str(uuid.uuid4()), 6, 500)
    decisions = await lived(beside, outcomes, 8)
    before = await checksums(beside)
    await run_sql(beside, "TRUNCATE " + ", ".join(f"tenant.{table}" for table in FILLED))
    await replayed(beside, outcomes, decisions, pieces=3)

    assert await checksums(beside) == before


FILLED = ("outcome_records", "calibration_bins", *(s.table for s in statements.OF_STREAMS))


async def test_what_live_has_written_of_streams_stays_as_it_is(beside):
    tenant = str(uuid.uuid4())
    outcomes = settled(tenant, 9, 300)
    decisions = await lived(beside, outcomes, 3)
    before = await checksums(beside)
    await run_sql(beside, "DELETE FROM tenant.outcome_records WHERE outcome_status = 'positive'")
    await replayed(beside, [], decisions)
    after = await checksums(beside)

    assert replace(after, outcomes=before.outcomes) == before
    assert after.outcomes != before.outcomes


async def test_a_promotion_corrects_every_sum_and_leaves_what_was_decided(url, beside):
    tenant = str(uuid.uuid4())
    outcomes = settled(tenant, 11, 600)
    await lived(url, outcomes, 4)
    name = f"s-{uuid.uuid4().hex[:8]}"
    await shadow_of(url, name, tenant, otherwise(outcomes))
    decided = await decisions_of(url, tenant)
    await promote_shadow(url, name, sums_of)
    async with BulkWriter(beside) as writer:
        await writer.write(otherwise(outcomes), 0)
        told = await sums_of(entering(beside, LIVE, END_MS, "[]"), SEGMENTS)
        await writer.write_calibration(told)

    assert await decisions_of(url, tenant) == decided
    for staged in statements.SUMMED:
        assert await sums_in(url, staged, tenant) == await sums_in(beside, staged, tenant)
        assert len(await sums_in(url, staged, tenant)) > 1


async def test_a_compared_shadow_says_beside_live_what_its_rows_say_of_streams(url):
    tenant = str(uuid.uuid4())
    outcomes = settled(tenant, 12, 400)
    await lived(url, outcomes, 4)
    name = f"s-{uuid.uuid4().hex[:8]}"
    await shadow_of(url, name, tenant, [])
    empty = await compare_shadow(url, name)
    same = f"s-{uuid.uuid4().hex[:8]}"
    await shadow_of(url, same, tenant, [replace(o, status="positive") for o in outcomes])
    found = (await compare_shadow(url, same)).streams

    assert [one.shadow for one in empty.streams] == [None, None]
    assert [one.stream[-1] for one in found] == ["judge", "logprob"]
    assert [one.live.n for one in found] == [one.shadow.n for one in found]
    assert {one.live.verdict for one in found} == {"miscalibrated"}
    assert all(one.shadow.threshold != one.live.threshold for one in found)


SEGMENTS = {version.digest: version.segments for version in POLICY.versions}


def otherwise(outcomes):
    """Every fifth is not there, every third is another one."""
    left = [one for number, one in enumerate(outcomes) if number % 5]
    return [
        replace(one, status="ambiguous", model="m9", resolved_at_ms=one.created_at_ms + 7)
        if number % 3 == 0
        else one
        for number, one in enumerate(left)
    ]


async def shadow_of(url, name, tenant, outcomes):
    about = {"tenants": [tenant], "since_ms": None, "until_ms": None, "output_ends": {}}
    await begin_shadow(url, name, about | {"segments": SEGMENTS})
    async with BulkWriter(url, name) as writer:
        await writer.write(outcomes, 0)
    rows = entering(url, SHADOW, END_MS, name)
    streams = [t async for s in replayed_streams(rows, POLICY, {}) for t in standing_of(s.end())]
    await end_shadow(url, name, END_MS, streams)


async def decisions_of(url, tenant):
    tables = ("calibration_streams", "calibration_alarms", "threshold_adjustments")
    told = "SELECT of::text FROM tenant.{} AS of WHERE tenant_id = $1 ORDER BY 1"
    return [
        (await run_bound(url, told.format(table), tenant)).rows
        for table in (*tables, "calibration_maps", "calibration_trends")
    ]


async def sums_in(url, staged, tenant):
    """The rows that are not all zero, without times and versions."""
    added = [*staged.corrections.sums, *staged.corrections.lists]
    more = [name for name in ("actual_rate",) if name in staged.columns]
    listed = ", ".join([*staged.keys, *added, *more])
    sql = f"SELECT {listed} FROM tenant.{staged.table} WHERE tenant_id = $1"
    rows = (await run_bound(url, sql, tenant)).rows
    keys = len(staged.keys)
    return {row[:keys]: row[keys:] for row in rows if any(map(some, row[keys:]))}


def some(value):
    return any(value) if isinstance(value, list) else bool(value)
