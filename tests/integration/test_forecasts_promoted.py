"""Forecasts through a promotion: what was scored stays as it was said, all else is the shadow's."""

import uuid
from dataclasses import replace

from sinks.postgres.bulk import BulkWriter
from sinks.postgres.promotion import promote_shadow
from sinks.postgres.shadows import begin_shadow, end_shadow
from tables.past_forecasts import end_of
from tests.integration.test_forecasts import (
    LAST_DAY,
    known_at,
    on_reading,
    outcomes,  # noqa: F401 (a fixture)
    publisher,  # noqa: F401 (a fixture)
)
from tests.stored_stream import DAY, stream_of
from trueup.stream_replay import sums_of

SEEN_DAY = LAST_DAY - 4


def judged_otherwise(known):
    """Of every third success nothing was heard."""
    return [
        replace(one, status="expired", resolved_at_ms=one.settled_at_ms)
        if number % 3 == 0 and one.status == "positive"
        else one
        for number, one in enumerate(known)
    ]


def in_half_the_time(known):
    """The same by a rule with a window of its own."""
    return [
        replace(
            one,
            window_expires_at_ms=one.window_expires_at_ms - DAY,
            settled_at_ms=one.settled_at_ms - DAY,
            resolved_at_ms=min(one.resolved_at_ms, one.settled_at_ms - DAY),
        )
        for one in known
    ]


async def promoted(publisher, known):  # noqa: F811
    """A shadow of what has settled takes its place."""
    name, tenant = f"s-{uuid.uuid4().hex[:8]}", known[0].tenant_id
    about = {"tenants": [tenant], "since_ms": None, "until_ms": None, "output_ends": {}}
    await begin_shadow(publisher.url, name, about)
    async with BulkWriter(publisher.url, name) as shadow:
        await shadow.write(known, 0)
    await end_shadow(publisher.url, name, end_of(SEEN_DAY) + DAY)
    done = await promote_shadow(publisher.url, name, sums_of)
    assert done.taken == done.removed == len(known)


async def through_a_promotion(publisher, outcomes, judge):  # noqa: F811
    """What is stored before it and in the end, when all the rest has come."""
    known = known_at(outcomes, SEEN_DAY)
    await publisher.store(known)
    before = await publisher.foretell()
    await promoted(publisher, judge([one for one in known if one.is_settled]))
    assert await publisher.foretell() == before
    await publisher.store(outcomes)
    return before, await publisher.foretell()


def scores(forecasts):
    return {day: told for day, told in forecasts.items() if told[-1] is not None}


async def test_scored_rows_stay_and_what_is_scored_or_made_later_is_by_what_was_promoted(
    publisher,  # noqa: F811
    outcomes,  # noqa: F811
):
    before, later = await through_a_promotion(publisher, outcomes, judged_otherwise)

    read = await on_reading(publisher.url, stream_of(outcomes[0]), LAST_DAY)
    said, unscored = scores(before), before.keys() - scores(before).keys()
    assert {day: later[day] for day in said} == said
    assert all(read.get(day) != told for day, told in said.items())
    assert min(unscored) in scores(later)
    assert later[min(unscored)] == read[min(unscored)]
    assert later[min(unscored)][1:-1] != before[min(unscored)][1:-1]
    anew = later.keys() - said.keys()
    assert {day: later[day][:-1] for day in anew} == {day: read[day][:-1] for day in anew}
    assert max(later) == LAST_DAY


async def test_where_windows_are_other_ones_scored_rows_stay_alone_until_the_calibrator_has_them(
    publisher,  # noqa: F811
    outcomes,  # noqa: F811
):
    before, later = await through_a_promotion(publisher, outcomes, in_half_the_time)

    assert len(scores(before)) < len(before)
    assert later == scores(before)
