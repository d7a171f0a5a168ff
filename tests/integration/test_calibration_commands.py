"""Curves, alarms, thresholds and forecasts as people read them, from rows of the real writer."""

import asyncio
import json
import uuid
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sinks.postgres.calibration_readings import (
    calibration_alarms,
    calibration_streams,
    calibration_trends,
    day_delays,
    followed_actions,
    residual_cells,
    stream_days,
    stream_delays,
    stream_segments,
    threshold_adjustments,
)
from sinks.postgres.migrate import migrate
from sinks.postgres.writer import PostgresWriter
from tables.calibration_bins import millionths_of
from tables.day_curve import DAY_MS
from tables.open_actions import DayDelays, Followed
from tables.smooth_error import ResidualGrid, smooth_error
from tables.stream_records import records_of
from tests.day_rows import delays_of
from tests.stored_stream import FIRST_DAY, WINDOW, Agent, folded, outcomes_of, store, stream_of
from trueup.cli import command_line
from trueup.curve import date_of

TYPE = "recommend_action"


class World:
    """Two tenants: one with an over-confident and an honest source, one too new to judge."""

    def __init__(self, url):
        self.url, self.tenant, self.new_tenant = url, str(uuid.uuid4()), str(uuid.uuid4())
        self.sure = outcomes_of(self.tenant, Agent())
        self.honest = outcomes_of(self.tenant, Agent(excess=0.0, source="logprob"), seed=2)
        self.new = outcomes_of(self.new_tenant, Agent(days=6, a_day=5), seed=3)
        self.told = {}

    async def store(self):
        async with PostgresWriter(self.url) as writer:
            for some in (self.sure, self.honest, self.new):
                fold = folded(some)
                for _, record in records_of(fold):
                    kinds = self.told.setdefault(stream_of(some[0]), {})
                    kinds.setdefault(getattr(record, "kind", "bin"), []).append(record)
                await store(writer, some, folded(some))
        return self

    def say(self, *words, code=0):
        app, settings = command_line(words), {"DATABASE_URL": self.url}
        done = CliRunner().invoke(app, words, env=settings, catch_exceptions=False)
        assert done.exit_code == code, done.output
        return done.output

    def json(self, *words):
        return json.loads(self.say(*words, "--json"))

    def curve(self, *words):
        (found,) = self.json("curve", self.tenant, TYPE, "--source", "judge", *words)["streams"]
        return found


@pytest.fixture(scope="module")
def world(database_url):
    migrate(database_url)
    return asyncio.run(World(database_url).store())


def counted(outcomes):
    """Confidence and y of those that have settled with a result that counts."""
    said = [o for o in outcomes if o.is_settled and o.status != "ambiguous"]
    p = np.array([o.predicted_confidence for o in said])
    return p, np.array([float(o.status == "positive") for o in said])


def day(ms):
    return ms // DAY_MS


# --- what is read is what was told --------------------------------------------------------------


async def test_every_record_of_a_stream_is_read_as_it_was_told(world):
    for stream, told in world.told.items():
        of = world.url, stream.tenant_id, stream.action_type

        def own(records, stream=stream):
            return [r for r in records if r.confidence_source == stream.confidence_source]

        def latest_first(records):
            return sorted(records, key=lambda one: -one.number)

        assert own(await calibration_streams(*of)) == told["stream"]
        assert own(await calibration_trends(*of)) == told["trend"]
        alarms = own(await calibration_alarms(*of, with_closed=True))
        assert alarms == latest_first(told.get("alarm", []))
        adjusted = own(await threshold_adjustments(*of, per_stream=99))
        assert adjusted == latest_first(told.get("adjustment", []))
        assert [await stream_delays(world.url, stream)] == told["delay"]
        days, earlier = await stream_days(world.url, stream)
        assert (by_key(days), earlier) == (by_key(told["day"]), [])
        assert by_key(await stream_segments(world.url, stream)) == by_key(told["segment"])
    assert alarms == []
    assert (await calibration_streams(world.url, str(uuid.uuid4()))) == []


def by_key(records):
    named = (
        (tuple(getattr(one, name, None) for name in NAMES), replace(one, counts={}), counts)
        for one in records
        for counts in [{status: n for status, n in one.counts.items() if n}]
    )
    return sorted(named, key=lambda row: str(row[0]))


NAMES = ("dimension", "segment", "action_day", "known_day", "bin_index")


async def test_only_so_many_adjustments_of_each_stream_are_read(world):
    every = await threshold_adjustments(world.url, world.tenant, per_stream=99)
    last = await threshold_adjustments(world.url, world.tenant)

    assert len(every) > 1
    assert last == every[:1]


def followed(outcomes):
    return [
        Followed(
            millionths_of(o.predicted_confidence), o.created_at_ms, o.settled_at_ms,
            None if o.status in ("pending", "expired") else o.resolved_at_ms, o.status,
            o.is_settled,
        )
        for o in sorted(outcomes, key=lambda o: (o.created_at_ms, uuid.UUID(o.id)))
    ]  # fmt: skip


async def test_actions_and_delays_are_those_of_the_outcomes(world):
    stream = stream_of(world.sure[0])
    since = (FIRST_DAY + 10) * DAY_MS
    expected = followed([o for o in world.sure if o.created_at_ms >= since])

    actions = await followed_actions(world.url, stream, since)
    delays = [DayDelays(*row) for row in await day_delays(world.url, stream)]

    assert [Followed(*row) for row in actions] == expected
    assert sorted(delays) == sorted(delays_of(followed(world.sure), WINDOW))
    (told,) = world.told[stream]["delay"]
    for third in range(3):
        for bucket in range(48):
            own = [d for d in delays if (d.third, d.bucket) == (third, bucket)]
            assert sum(d.positive for d in own) == told.positive[third][bucket]
            assert sum(d.negative for d in own) == told.negative[third][bucket]


@pytest.mark.parametrize("span", [(None, None, None), (5, 12, None), (None, None, 20), (3, 3, 9)])
async def test_the_grid_of_smooth_error_is_that_of_the_records_of_the_span(world, span):
    since, until, known_by = (None if d is None else FIRST_DAY + d for d in span)
    grid, found = ResidualGrid(), ResidualGrid()
    for o in world.sure:
        if (
            o.is_settled
            and o.status != "ambiguous"
            and (since is None or day(o.created_at_ms) >= since)
            and (until is None or day(o.created_at_ms) <= until)
            and (known_by is None or day(o.settled_at_ms) <= known_by)
        ):
            grid.update(millionths_of(o.predicted_confidence), int(o.status == "positive"))

    ends = (None if d is None else date_of(d) for d in (since, until, known_by))
    for cell, n, own, following in await residual_cells(world.url, stream_of(world.sure[0]), *ends):
        found.n += n
        found.mass[cell] += own
        if following:
            found.mass[cell + 1] += following

    assert found == grid
    assert grid.n > 0


# --- the curve -----------------------------------------------------------------------------------


def test_the_curve_has_the_figures_of_its_outcomes(world):
    found = world.curve()
    p, y = counted(world.sure)
    grid = ResidualGrid()
    for one, outcome in zip(p, y, strict=True):
        grid.update(millionths_of(one), int(outcome))

    assert found["n"] == len(p)
    assert found["brier"] == pytest.approx(((p - y) ** 2).mean(), abs=1e-9)
    assert found["smooth_ece"] == smooth_error(grid)
    assert found["verdict"] == "miscalibrated"
    assert found["provisional"]["why_withheld"] == ""
    assert found["provisional"]["n"] == sum(not o.is_settled for o in world.sure)
    assert 0.5 < found["provisional"]["pooled"]["maturity"] < 0.9
    assert found["statuses"] == by_status(world.sure)
    assert statuses_of(found) == found["statuses"]
    for told in found["bins"]:
        inside = (p * 10).astype(int) == told["index"]
        assert told["n"] == inside.sum() == told["n_effective"]
        assert told["actual"] == pytest.approx(y[inside].mean())
        assert told["interval"][0] < told["lead_actual"] < told["interval"][1]
        assert told["actual_ends"][0] <= told["actual"] <= told["actual_ends"][1]
        assert told["band"] is None


def test_the_curve_has_the_trends_of_its_stream(world):
    success, gap = world.told[stream_of(world.sure[0])]["trend"]
    told = world.curve()["trends"]

    assert told["success_rate"]["previous_mean"] == success.previous_mean
    assert told["calibration_gap"]["current_mean"] == gap.current_mean
    assert told["success_rate"]["compared_count"] == success.compared_count > 2
    said = " ".join(world.say("curve", world.tenant, TYPE, "--source", "judge").split())
    assert f"success: {100 * success.current_mean:.0f} % of the last 100, " in said
    assert world.curve("--days", "10")["trends"] == {}


def test_the_last_days_are_those_of_actions_that_have_settled(world):
    found = world.curve("--days", "10")
    last = max(day(o.created_at_ms) for o in world.sure if o.is_settled)
    p, y = counted(o for o in world.sure if day(o.created_at_ms) > last - 10)

    assert found["span"]["until"] == date_of(last).isoformat()
    assert found["n"] == len(p)
    assert found["brier"] == pytest.approx(((p - y) ** 2).mean(), abs=1e-9)
    assert found["span"]["is_of_one_moment"]
    assert found["provisional"] is None
    assert found["statuses"] == by_status(
        [o for o in world.sure if last - 10 < day(o.created_at_ms) <= last]
    )
    assert all(told["band"][0] <= told["stated"] <= told["band"][1] for told in found["bins"])


def test_decay_weighs_days_and_shows_how_many_records_they_are_worth(world):
    found = world.curve("--half-life", "5")
    p, y = counted(world.sure)
    days = np.array(
        [day(o.created_at_ms) for o in world.sure if o.is_settled and o.status != "ambiguous"]
    )
    weights = 2.0 ** ((days - days.max()) / 5)

    assert found["n"] == len(p)
    assert found["brier"] == pytest.approx(np.average((p - y) ** 2, weights=weights), abs=1e-6)
    assert sum(told["n_effective"] for told in found["bins"]) < len(p) / 2
    assert found["smooth_ece"] is None


def by_status(outcomes):
    """Settled ones by their status; what is not settled is pending whatever is known of it."""
    counts = Counter(o.status if o.is_settled else "pending" for o in outcomes)
    return {status: counts[status] for status in STATUSES}


def statuses_of(found):
    return {status: sum(told["statuses"][status] for told in found["bins"]) for status in STATUSES}


STATUSES = ("positive", "negative", "ambiguous", "expired", "pending")


async def test_what_was_known_on_a_day_is_what_it_would_have_said_that_day(world):
    """A second installation whose story ends that day says the same of that day."""
    last = FIRST_DAY + 19
    known_by = date_of(last).isoformat()
    tenant = str(uuid.uuid4())
    then = outcomes_of(tenant, Agent(days=20))
    async with PostgresWriter(world.url) as writer:
        await store(writer, then, folded(then))

    def of(tenant_id):
        words = ("curve", tenant_id, TYPE, "--source", "judge", "--known-by", known_by)
        (found,) = world.json(*words)["streams"]
        return {name: found[name] for name in TOLD_OF_A_DAY}

    now, at_that_time = [await asyncio.to_thread(of, t) for t in (world.tenant, tenant)]

    assert now == at_that_time
    assert 200 < now["n"] < 500
    assert now["provisional"]["pooled"]["rate"] > 0.4


TOLD_OF_A_DAY = ("n", "brier", "ece", "ece2", "smooth_ece", "bins", "provisional")


def test_a_segment_has_a_curve_of_its_own(world):
    small = world.curve("--segment", "model=small")
    large = world.curve("--segment", "model=large")
    p, _ = counted(o for o in world.sure if o.model == "small")

    assert small["n"] == len(p)
    assert small["n"] + large["n"] == world.curve()["n"]
    assert "0 settled" not in world.say("curve", world.tenant, TYPE, "--segment", "model=small")


def test_a_person_reads_a_sentence_and_the_numbers_are_a_flag_away(world):
    told = " ".join(world.say("curve", world.tenant, TYPE).split())
    numbers = world.say("curve", world.tenant, TYPE, "--source", "judge", "--numbers")
    new = " ".join(world.say("curve", world.new_tenant, TYPE).split())

    assert "recommend_action: over-confident by 0." in told
    assert " settled actions, alarm since 2026-01-" in told
    assert "recommend_action: calibrated within 0.05; evidence 1 : 0." in told
    assert "recommend_action over its 2 streams: evidence 1 : " in told
    assert "still open, provisional" in told
    assert "so told, the last closed cohort was" in told
    assert "Brier" not in told
    assert "Brier 0." in numbers
    assert "ECE₂ 0." in numbers
    assert "too little has settled to say more" in new
    assert "of 100 positives are known whose window has closed" in new


def test_the_page_shows_what_the_command_prints(world):
    page = (Path(__file__).parents[2] / "docs" / "calibration.md").read_text(encoding="utf-8")

    assert f"```\n{world.say('curve', world.tenant, TYPE, '--source', 'judge')}```" in page


def test_the_evidence_of_an_action_type_is_the_plain_mean_of_its_streams(world):
    told = world.json("curve", world.tenant, TYPE)
    logs = [one["evidence"]["ln_e"] for one in told["streams"]]

    assert np.exp(told["ln_e"]) == pytest.approx(np.mean(np.exp(logs)))


@pytest.mark.parametrize("name", ["curve.svg", "curve.png"])
def test_a_picture_is_written_and_is_the_same_each_time(world, tmp_path, name):
    pictures = []
    for _ in range(2):
        path = tmp_path / name
        world.say("curve", world.tenant, TYPE, "--known-by", "2026-01-25", "--out", str(path))
        pictures.append(path.read_bytes())

    assert pictures[0] == pictures[1]
    assert pictures[0][:5] in (b"<?xml", b"\x89PNG\r")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--days", "3", "--since", "2026-01-05"], "--days goes with neither"),
        (["--since", "yesterday"], "--since yesterday: "),
        (["--out", "curve.pdf"], "ends in .svg or .png"),
        (["--segment", "small"], "a field and its value"),
        (["--segment", "model=small", "--days", "3"], "segments are kept over all"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_asked_is_said_with_exit_2(world, words, says):
    assert says in world.say("curve", world.tenant, TYPE, *words, code=2)


def test_of_what_has_not_settled_there_is_no_curve_and_no_forecast(world):
    for command in ("curve", "forecast"):
        told = world.say(command, world.tenant, "send_email", code=4)
        assert "Nothing of send_email has settled" in told


# --- alarms, thresholds, forecasts ---------------------------------------------------------------


def test_alarms_are_told_with_the_streams_that_stand_out_among_all(world):
    told, found = world.say("alarms", world.tenant), world.json("alarms", world.tenant)
    fleet = world.json("alarms", "--all")

    assert "confidence from judge, alarm 1, open" in told
    assert "over-confident on average, over-confident at the threshold" in told
    assert f"flagged among 2 streams of {world.tenant}: 1 now" in told
    assert [alarm["confidence_source"] for alarm in found["alarms"]] == ["judge"]
    assert [one["confidence_source"] for one in found["flags"]["tenant"]["current"]] == ["judge"]
    assert found["flags"]["fleet"]["streams"] >= 3
    assert fleet["flags"]["tenant"] is None
    assert "No alarm is open." in world.say("alarms", world.new_tenant)


def test_thresholds_are_told_with_their_reasons_and_what_came_of_them(world):
    told = world.say("thresholds", world.tenant)
    history = world.say("thresholds", "list", world.tenant, "--history")
    judge, logprob = world.json("thresholds", world.tenant, "--history")

    assert "confidence from logprob: threshold 0.700, as at first" in told
    assert "not moved: evidence" in told
    assert len(history.splitlines()) > len(told.splitlines())
    assert "1. 2026-01-" in history
    assert "0.700 → 0.800 by evidence" in history
    assert judge["threshold"] == judge["adjustments"][0]["new_threshold"] > 0.8
    assert (logprob["threshold"], logprob["adjustments"]) == (0.7, [])


def test_a_forecast_is_told_with_how_past_ones_did(world):
    told = world.say("forecast", world.tenant, TYPE, "--score", "--days", "8")
    judge, logprob = world.json("forecast", world.tenant, TYPE)
    then, _ = world.json("forecast", world.tenant, TYPE, "--as-of", "2026-01-30")
    end = (FIRST_DAY + 26) * DAY_MS
    waited = [
        o
        for o in world.sure
        if o.created_at_ms < end <= o.settled_at_ms
        and (o.status == "expired" or o.resolved_at_ms >= end)
    ]

    assert told.count("that wait without a signal") == 2 + 2 * 8
    assert judge["forecast"]["waiting"] == sum(o.status == "pending" for o in world.sure)
    assert judge["came"] is None
    assert min(len(judge["past"]), len(logprob["past"])) > 20
    assert judge["coverage"] > 0.8
    assert then["forecast"]["waiting"] == len(waited)
    assert then["came"] == sum(o.status == "positive" for o in waited)
    assert (
        "fewer than 100 positives were known"
        in world.json("forecast", world.new_tenant, TYPE)[0]["why_not"]
    )
