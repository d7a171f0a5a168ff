"""What is said of a curve, of alarms, thresholds and forecasts, word by word."""

from dataclasses import replace
from math import log

import pytest

from agents_topics.calibration import (
    CalibrationAlarm,
    StreamCalibration,
    StreamTrend,
    ThresholdAdjustment,
)
from tables.calibration_bins import Sums
from tables.day_curve import DAY_MS, DayBin, Span
from tables.delay_curve import BUCKET_COUNT, DelayCurve
from tables.forecast import Forecast
from tables.open_actions import Delays, Followed
from tables.past_forecasts import ScoredForecast
from tables.provisional import DelayCheck
from tables.stream import Stream
from tests.day_rows import STREAM
from tests.real_data import games, ten_bins
from trueup.alarms import alarm_lines, flag_lines, flags_of
from trueup.curve import Asked, Curve, provisional
from trueup.curve_numbers import curve_json, number_lines
from trueup.curve_words import curve_lines, verdict_sentence
from trueup.foretelling import Foretold, forecast_lines
from trueup.standing_words import standing_json, standing_words
from trueup.threshold_words import threshold_lines

DAY = 20_458
STANDS = StreamCalibration(
    **STREAM, policy_version="v", tested_since_ms=DAY * DAY_MS, n=212, excluded_n=0,
    log_evidence_nanos=int(log(345) * 1e9), worst_log_evidence_nanos=0,
    peak_log_evidence_nanos=int(log(400) * 1e9), alarm_at_ms=None, verdict="miscalibrated",
    is_calibrated=False, error=0.1, error_low=0.0, error_high=0.2, map_a_millionths=None,
    map_b_millionths=None, map_adopted_at_ms=None, map_log_evidence_nanos=0,
    threshold_millionths=700_000, threshold_changed_at_ms=None, is_threshold_held=False,
    reason="not moved: the cool-down of one window is not over", last_settled_at_ms=DAY * DAY_MS,
)  # fmt: skip
SURE = [(820_000, 1)] * 140 + [(820_000, 0)] * 72
"""Says .82 and is right in .66 of 212."""


def bins_of(pairs):
    made = [DayBin() for _ in range(10)]
    for held, sums in zip(made, ten_bins(pairs), strict=True):
        held.all.update(sums, 1)
        held.lead.update(sums, 1)
    return made


def curve_of(pairs, asked=None, tested=None, **stands):
    return Curve(
        stream=Stream(**STREAM),
        stands=replace(STANDS, **stands),
        target=0.7,
        asked=asked or Asked(),
        bins=bins_of(pairs),
        tested=bins_of(pairs if tested is None else tested),
        first_day=DAY,
        last_day=DAY + 9,
        is_test_anew=tested is not None,
        smooth_error=0.1,
        provisional=None,
    )


# --- the sentence --------------------------------------------------------------------------------


def test_the_verdict_is_one_sentence_with_place_evidence_and_what_the_threshold_would_do():
    assert verdict_sentence(curve_of(SURE)) == (
        "over-confident by 0.16 around 0.8; evidence 1 : 340 after 212 settled actions;"
        " threshold 0.70 → 0.85 for success 0.70, expected there unobserved → 0.70"
    )


def test_an_open_alarm_and_a_test_that_began_anew_are_dated():
    found = curve_of(SURE, tested=SURE, alarm_at_ms=(DAY + 3) * DAY_MS)

    assert "after 212 settled actions since 2026-01-05, alarm since 2026-01-08;" in (
        verdict_sentence(found)
    )


def test_after_a_new_test_the_sentence_speaks_of_what_that_has_seen():
    found = curve_of(SURE, tested=[(820_000, 1)] * 8, verdict="insufficient", n=8)

    assert verdict_sentence(found).startswith("too little has settled to say more; evidence")
    assert "threshold 0.70 stays: too little has settled to move it" in verdict_sentence(found)


def spread(stated, rate, n=30):
    """Three bins, each too small to be named alone."""
    good = round(rate * n)
    bins = [stated - 100_000, stated, stated + 100_000]
    return [(p, y) for p in bins for y in [1] * good + [0] * (n - good)]


@pytest.mark.parametrize(
    ("pairs", "verdict", "says"),
    [
        (spread(700_000, 0.5), "miscalibrated", "over-confident by 0.20 on average"),
        (spread(400_000, 0.6), "miscalibrated", "under-confident by 0.20 on average"),
        (spread(700_000, 0.63), "miscalibrated", "miscalibrated (over-confident on average)"),
        (spread(700_000, 0.7), "calibrated", "calibrated within 0.05"),
        (spread(700_000, 0.7), "insufficient", "too little has settled to say more"),
        (spread(700_000, 0.7), "no evidence", "no miscalibration seen"),
    ],
)
def test_where_no_bin_can_be_named_all_of_them_or_the_verdict_is(pairs, verdict, says):
    assert verdict_sentence(curve_of(pairs, verdict=verdict)).startswith(f"{says}; ")


@pytest.mark.parametrize(
    ("pairs", "stands", "says"),
    [
        (SURE, {"is_threshold_held": True}, "threshold 0.70 is held there by a person"),
        (
            spread(700_000, 0.7),
            {"map_a_millionths": 0, "map_b_millionths": 1_000_000},
            "threshold 0.70 is where success is 0.70",
        ),
        (
            SURE,
            {"map_a_millionths": 0, "map_b_millionths": 1_000_000},
            "threshold 0.70 is where success is 0.70 by the map, unobserved there",
        ),
        (
            spread(700_000, 0.78),
            {"map_a_millionths": 400_000, "map_b_millionths": 1_000_000},
            "threshold 0.70 → 0.61 would allow more actions: it would lower success there from"
            " 0.78 to 0.70",
        ),
        (
            spread(750_000, 0.78),
            {"map_a_millionths": -400_000, "map_b_millionths": 1_000_000},
            "threshold 0.70 → 0.78 would raise success there from 0.61 to 0.70",
        ),
        (
            [(720_000, 1), *SURE],
            {"map_a_millionths": 400_000, "map_b_millionths": 1_000_000},
            "threshold 0.70 → 0.61 for success 0.70, expected there 0.78 → unobserved",
        ),
        (
            [(650_000, 1)],
            {"map_a_millionths": -900_000, "map_b_millionths": 1_000_000},
            "threshold 0.70 → 0.85 for success 0.70, expected there unobserved → unobserved",
        ),
        (spread(700_000, 0.65, 40), {}, "threshold 0.70 stays: 0.7"),
    ],
    ids=["held", "there", "unseen", "lower", "raise", "lower unseen", "both unseen", "unsure"],
)
def test_what_would_become_of_the_threshold(pairs, stands, says):
    assert says in verdict_sentence(curve_of(pairs, **stands))


def test_of_a_part_of_the_curve_only_what_it_shows_is_said():
    found = curve_of(SURE, Asked(Span(known_by_day=DAY + 20)))
    nothing = curve_of([], Asked(Span(until_day=DAY)))

    assert verdict_sentence(found) == "over-confident by 0.16 around 0.8; 212 settled actions"
    assert verdict_sentence(nothing) == "nothing has settled"


# --- the lines -----------------------------------------------------------------------------------


def unwrapped(lines):
    assert max(map(len, lines)) <= 100
    return " ".join(line.strip() for line in lines)


def test_the_lines_say_how_often_one_may_look_and_both_ends_of_what_says_nothing():
    watched = unwrapped(curve_lines(curve_of([*SURE, *[(820_000, None)] * 53]), ascii_only=False))
    once = curve_lines(curve_of(SURE, Asked(Span(DAY, DAY + 9, DAY + 20))), ascii_only=False)

    assert "intervals hold however often you look" in watched
    assert (
        "20.0 % ended without a result that counts; whatever they were, between 53 and 73 % of"
        " all were right"
    ) in watched
    assert "  actions of 2026-01-05 to 2026-01-14, as it was known on 2026-01-25" in once
    assert "  intervals are for this one moment: looked at again and again, they miss more" in (
        "\n".join(once)
    )
    assert "  outside what a perfect agent would show: 80–90 %" in once


def trend_of(metric="success_rate", **changes):
    told = StreamTrend(
        **STREAM, metric=metric, n=200, previous_mean=0.71, current_mean=0.58,
        change_percent=-18.3, direction="declining", evidence="supported",
        supported_direction="declining", low=-0.25, high=-0.02, compared_count=3, half_size=100,
        compared_at_ms=DAY * DAY_MS,
    )  # fmt: skip
    return replace(told, **changes)


@pytest.mark.parametrize(
    ("trend", "says"),
    [
        (
            trend_of(),
            "success: 58 % of the last 100, 71 % of the 100 before: declining, and the evidence"
            " supports it (-0.25 to -0.02 at the last full 100)",
        ),
        (
            trend_of(evidence="unsupported", supported_direction="stable", high=0.03),
            "success: 58 % of the last 100, 71 % of the 100 before: no change is shown"
            " (-0.25 to +0.03 at the last full 100)",
        ),
        (
            trend_of(direction="stable", n=200, current_mean=0.7),
            "success: 70 % of the last 100, 71 % of the 100 before: stable now; declining at the"
            " last comparison, which supports it (-0.25 to -0.02 at the last full 100)",
        ),
        (
            trend_of(n=101, evidence="insufficient", low=None, high=None),
            "success: 58 % of the last 51, 71 % of the 50 before: no change can be shown before"
            " 200 lead records",
        ),
        (
            trend_of(n=1, evidence="insufficient", low=None, high=None, current_mean=1.0),
            "success: 100 % of the last 1: no change can be shown before 200 lead records",
        ),
        (
            trend_of("calibration_gap", previous_mean=-0.02, current_mean=0.2, low=0.05, high=0.39),
            "calibration: over-confident by 0.20 over the last 100, under-confident by 0.02 over"
            " the 100 before: declining, and the evidence supports it (+0.05 to +0.39 at the last"
            " full 100)",
        ),
        (
            trend_of(
                "calibration_gap", previous_mean=0.12, current_mean=0.2, evidence="unsupported"
            ),
            "calibration: over-confident by 0.20 over the last 100, by 0.12 over the 100 before:"
            " no change is shown (-0.25 to -0.02 at the last full 100)",
        ),
        (
            trend_of(
                "calibration_gap", previous_mean=0.13, current_mean=-0.13, low=-0.4, high=-0.1,
                direction="stable", supported_direction="stable",
            ),
            "calibration: under-confident by 0.13 over the last 100, over-confident by 0.13 over"
            " the 100 before: it has changed, but is not shown to be nearer to right or farther"
            " (-0.40 to -0.10 at the last full 100)",
        ),
    ],
)  # fmt: skip
def test_a_trend_is_a_sentence_about_both_halves_and_what_is_shown(trend, says):
    curve = replace(curve_of(SURE), trends=[trend])

    assert says in unwrapped(curve_lines(curve, ascii_only=False))


def test_trends_have_their_figures_among_the_numbers():
    gap = trend_of("calibration_gap", change_percent=None, evidence="unsupported")
    few = trend_of(low=None, high=None, compared_at_ms=None, evidence="insufficient", n=150)
    curve = replace(curve_of(SURE), trends=[trend_of(), gap])

    told, lines = curve_json(curve)["trends"], number_lines(curve, ascii_only=False)

    assert list(told) == ["success_rate", "calibration_gap"]
    assert (told["success_rate"]["low"], told["success_rate"]["supported_direction"]) == (
        -0.25,
        "declining",
    )
    assert told["success_rate"]["compared_at"] == "2026-01-05 00:00:00 UTC"
    assert (
        "success_rate 0.7100 → 0.5800 (-18.3 %) of 200 samples, declining; comparison 3 of 100"
        " with 100, at 2026-01-05 00:00:00 UTC: declining, -0.2500 to -0.0200"
    ) in lines
    assert [line for line in lines if "gap" in line and "unsupported, -0.2500" in line]
    assert "of 150 samples, declining; not compared yet" in "".join(
        number_lines(replace(curve, trends=[few]), ascii_only=False)
    )


def test_a_terminal_of_ascii_gets_ascii():
    pairs = [*SURE, (820_000, None)]
    found = replace(curve_of(pairs), provisional=still_open(1.1))

    told = [*curve_lines(found, ascii_only=True), *number_lines(found, ascii_only=True)]

    assert all(line.isascii() for line in told)
    assert any("0.70 -> 0.8" in line for line in told)


def still_open(ratio, known=40):
    counts = [[known] * BUCKET_COUNT for _ in range(3)]
    actions = [
        Followed(850_000, at, at + 480, at + 100 if at % 3 else None, "positive", False)
        for at in range(240)
    ]
    delays = Delays(DelayCurve(counts), DelayCurve(), 0)
    return provisional(actions, 240, 480, delays, DelayCheck(ratio), expired_counts=True)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (still_open(0.9), "the last closed cohort was 0.90 times what came"),
        (still_open(1.4), "it would have said 1.40 times what came, so delays are not what they"),
        (still_open(None), "no cohort has closed yet by which to check it"),
        (still_open(1.0, known=0), "only 0 of 100 positives are known whose window has closed"),
    ],
    ids=["shown", "drifted", "unchecked", "unknown"],
)
def test_what_is_open_is_told_with_its_check_or_withheld_with_the_reason(found, says):
    told = unwrapped(curve_lines(replace(curve_of(SURE), provisional=found), ascii_only=False))

    assert says in told
    assert ("still open, provisional" in told) == (found.why_withheld == "")
    assert "240" in told


def test_the_numbers_have_the_verdict_with_its_alpha_and_delta():
    found = curve_of(SURE, verdict="no evidence")

    told, lines = curve_json(found), number_lines(found, ascii_only=False)

    assert (told["verdict"], told["alpha"], told["delta"]) == ("no evidence", 0.05, 0.05)
    assert (
        "verdict no evidence: an alarm at evidence 1 : 20 (alpha 0.05), calibrated where the error"
        " is at most 0.05 (delta)"
    ) in lines


def test_actions_are_counted_by_all_five_statuses_where_they_are_known():
    found = curve_of(SURE)
    found.bins[8].counts.update(positive=140, negative=60, expired=12)
    here = replace(found, pending=[0] * 7 + [3, 0, 4])

    some, every = (unwrapped(curve_lines(one, ascii_only=False)) for one in (found, here))
    told = curve_json(here)

    assert "140 positive, 60 negative, 0 ambiguous, 12 expired, 7 pending" in every
    assert "140 positive, 60 negative, 0 ambiguous, 12 expired" in some
    assert "pending" not in some
    assert [(one["index"], one["statuses"]["pending"]) for one in told["bins"]] == [
        (7, 3), (8, 0), (9, 4),
    ]  # fmt: skip
    assert told["statuses"]["pending"] == 7
    assert curve_json(found)["statuses"]["pending"] is None
    assert told["silence_ends"] == pytest.approx((140 / 212, 152 / 212))


def test_the_numbers_name_the_bins_where_nothing_has_come_out():
    found = curve_of([(150_000, None), (820_000, 1), (850_000, 0), (999_999, 1)])

    told, lines = curve_json(found), number_lines(found, ascii_only=False)

    assert told["unobserved"] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert [held["index"] for held in told["bins"] if held["actual"] is not None] == [8, 9]
    assert lines[-1] == "  unobserved: 0–80 %"
    everywhere = curve_of([(50_000 + 100_000 * index, 1) for index in range(10)])
    assert curve_json(everywhere)["unobserved"] == []
    assert "unobserved" not in "\n".join(number_lines(everywhere, ascii_only=False))


def test_the_brier_score_comes_with_its_parts_its_skill_and_the_greatest_error():
    pairs = [(800_000, int(n < 30)) for n in range(40)] + [(200_000, n % 2) for n in range(40)]
    found = curve_of(pairs)

    told, lines = curve_json(found), number_lines(found, ascii_only=True)

    assert told["brier"] == pytest.approx(0.265)
    assert told["brier_parts"] == pytest.approx(
        {
            "reliability": 0.04625,
            "resolution": 0.015625,
            "uncertainty": 0.234375,
            "within_variance": 0,
            "within_covariance": 0,
        }
    )
    assert told["brier_skill"] == pytest.approx(1 - 0.265 / 0.234375)
    assert told["mce"] == pytest.approx(0.3)
    assert lines[1] == (
        "Brier = reliability 0.0462 - resolution 0.0156 + uncertainty 0.2344 + within bins 0.0000"
        " - 0.0000; skill -0.1307, MCE 0.3000"
    )
    alike = curve_json(curve_of([(900_000, 1)]))
    assert (alike["brier_skill"], alike["mce"]) == (None, None)
    nothing = curve_json(curve_of([]))
    assert (nothing["brier_parts"], nothing["brier_skill"], nothing["mce"]) == (None, None, None)
    assert not any("Brier =" in line for line in number_lines(curve_of([]), ascii_only=True))
    assert "; skill none, MCE none" in number_lines(curve_of([(900_000, 1)]), ascii_only=True)[1]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("nfl_games.csv", (0.00155, 0.02816, 0.24776, 0.00079, 0.00112)),
        ("nhl_games.csv", (0.00399, 0.02013, 0.24832, 0.00078, 0.00170)),
    ],
)
def test_other_peoples_forecasts_have_the_published_parts(name, parts):
    told = curve_json(curve_of(games(name)))

    assert list(told["brier_parts"].values()) == pytest.approx(parts, abs=5.001e-6)


@pytest.mark.parametrize(("count", "mce"), [(19, 0.2), (20, 0.9)])
def test_of_weighted_days_the_greatest_error_leaves_out_bins_that_are_worth_too_little(count, mce):
    bins = [DayBin() for _ in range(10)]
    for index, sums in (
        (9, Sums(n=count, sp=900_000 * count)),
        (6, Sums(n=20, sp=13_000_000, sy=9)),
    ):
        bins[index].all.update(sums, 1 << 30)

    assert curve_json(replace(curve_of(SURE), bins=bins))["mce"] == pytest.approx(mce)


# --- alarms --------------------------------------------------------------------------------------


def stream_of(source, evidence, peak=None, n=10):
    return replace(
        STANDS, confidence_source=source, n=n, log_evidence_nanos=int(log(evidence) * 1e9),
        peak_log_evidence_nanos=int(log(peak or evidence) * 1e9),
    )  # fmt: skip


def test_flags_are_of_streams_that_were_tested_now_and_for_good():
    streams = [
        stream_of("judge", 5_000.0), stream_of("human", 60.0), stream_of("logprob", 1.0, 9_000.0),
        stream_of("agreement", 1.0), stream_of("heuristic", 10**9, n=0),
    ]  # fmt: skip

    flags = flags_of(streams)
    told = list(flag_lines(flags, streams, {"t": "acme"}, "acme"))

    assert flags.count == 4
    assert [one.confidence_source for one in flags.current] == ["judge", "human"]
    assert [one.confidence_source for one in flags.sticky] == ["judge", "logprob"]
    assert told[0] == (
        "flagged among 4 streams of acme: 2 now, of which at most 10 % false on average; 2 at any"
        " time"
    )
    assert "acme: qualify" in told[1]
    assert [line.split(", ")[2] for line in told[1:]] == ["now and for good", "now", "once"]
    assert list(flag_lines(flags_of([]), [], {}, "acme")) == [
        "flagged among 0 streams of acme: none"
    ]


ALARM = CalibrationAlarm(
    **STREAM, number=2, opened_at_ms=DAY * DAY_MS, n=1_412, log_evidence_nanos=3_000_000_000,
    direction="over-confident", direction_at_threshold="under-confident", shape="too timid",
    closed_at_ms=None, closed_by=None,
)  # fmt: skip


def test_an_alarm_says_what_is_wrong_on_average_and_where_the_agent_decides():
    closed = replace(ALARM, closed_at_ms=(DAY + 2) * DAY_MS, closed_by="agent version", shape=None)

    assert list(alarm_lines([ALARM, closed], {"t": "acme"})) == [
        "acme: qualify → deal_progression within 3 days, confidence from judge, alarm 2, open",
        "  2026-01-05 00:00:00 UTC: over-confident on average, under-confident at the threshold,"
        " too timid; evidence 1 : 20 after 1,412 settled actions",
        "acme: qualify → deal_progression within 3 days, confidence from judge, alarm 2, closed by"
        " a new version of the agent after 2 days",
        "  2026-01-05 00:00:00 UTC: over-confident on average, under-confident at the threshold;"
        " evidence 1 : 20 after 1,412 settled actions",
    ]


# --- thresholds and forecasts --------------------------------------------------------------------


def test_a_threshold_says_why_it_stands_there_and_what_came_of_moving_it():
    moved = ThresholdAdjustment(
        **STREAM, number=1, at_ms=DAY * DAY_MS, cause="evidence", direction="increase",
        magnitude=0.06, old_threshold=0.7, new_threshold=0.76, reason="map a -0.3", n=212,
        map_a_millionths=-300_000, map_b_millionths=10**6, log_evidence_nanos=4,
        expected_before=0.61, expected_after=0.7, observed_before=0.6, observed_after=0.69,
        observed_n_before=120, observed_n_after=100,
    )  # fmt: skip
    early = replace(moved, number=2, observed_after=None, observed_n_after=3)
    by_hand = replace(moved, number=3, cause="set", expected_before=None, observed_after=None)
    unseen = replace(early, number=4, expected_after=None)
    nowhere = replace(unseen, number=5, expected_before=None)
    held = replace(STANDS, is_threshold_held=True, threshold_changed_at_ms=DAY * DAY_MS)

    moves = [nowhere, unseen, by_hand, early, moved]
    told = list(threshold_lines([held], moves, {"t": "acme"}))

    assert told == [
        "acme: qualify → deal_progression within 3 days, confidence from judge: threshold 0.700"
        " since 2026-01-05 00:00:00 UTC, held by a person",
        "  not moved: the cool-down of one window is not over",
        "  5. 2026-01-05 00:00:00 UTC 0.700 → 0.760 by evidence: map a -0.3",
        "     expected success there unobserved → unobserved; observed: not enough yet, 3 lead"
        " records since",
        "  4. 2026-01-05 00:00:00 UTC 0.700 → 0.760 by evidence: map a -0.3",
        "     expected success there 0.610 → unobserved; observed: not enough yet, 3 lead records"
        " since",
        "  3. 2026-01-05 00:00:00 UTC 0.700 → 0.760 set by a person: map a -0.3",
        "     observed: not enough yet, 100 lead records since",
        "  2. 2026-01-05 00:00:00 UTC 0.700 → 0.760 by evidence: map a -0.3",
        "     expected success there 0.610 → 0.700; observed: not enough yet, 3 lead records since",
        "  1. 2026-01-05 00:00:00 UTC 0.700 → 0.760 by evidence: map a -0.3",
        "     expected success there 0.610 → 0.700; observed 0.600 of 120 before, 0.690 of 100"
        " since",
    ]


def test_a_forecast_says_what_came_of_it_and_of_those_before():
    made = Forecast(88.9, 72.1, 105.4, 412)
    past = [ScoredForecast(DAY, made, 90), ScoredForecast(DAY + 1, made, 110)]
    told = Foretold(Stream(**STREAM), DAY * DAY_MS, made, 71, past, "")

    assert list(forecast_lines(told, with_scores=True))[1:] == [
        "  2026-01-05 00:00:00 UTC: of 412 that wait without a signal about 89 will still come true"
        " (72 to 105); 71 came: missed",
        "  past: of 2 forecasts, one a day, 50 % held what came (95 % are to); on average 11.1 too"
        " low",
        "    2026-01-05: of 412 that wait without a signal about 89 will still come true"
        " (72 to 105); 90 came: held",
        "    2026-01-06: of 412 that wait without a signal about 89 will still come true"
        " (72 to 105); 110 came: missed",
    ]
    nothing = replace(told, made=None, past=[], why_not="no action waits")
    assert list(forecast_lines(nothing, with_scores=False))[1:] == [
        "  2026-01-05 00:00:00 UTC: no forecast: no action waits",
        "  no past forecast can be scored yet: too little has settled",
    ]


@pytest.mark.parametrize(
    ("stands", "says"),
    [
        (
            {"alarm_at_ms": 5, "threshold_millionths": 824_000},
            "verdict: miscalibrated, alarm open; evidence 1 : 340 after 212 settled actions;"
            " threshold 0.70 → 0.82",
        ),
        (
            {"verdict": "calibrated", "is_calibrated": True, "log_evidence_nanos": 0},
            "verdict: calibrated within 0.05; evidence 1 : 1 after 212 settled actions;"
            " threshold stays at 0.70",
        ),
    ],
    ids=["moved", "still"],
)
def test_where_a_stream_stands_in_one_line(stands, says):
    standing = replace(STANDS, **stands)

    assert standing_words(standing, 0.7) == says
    found = standing_json(standing, 0.7)
    assert f"evidence {found['evidence']} after {found['n']} " in says
    assert found["is_alarmed"] is ("alarm open" in says)
    assert (found["threshold"] != found["first_threshold"]) is ("→" in says)
