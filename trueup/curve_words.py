"""A stream's curve for people: the verdict in one sentence, the picture, and what is still open.

The sentence names a bin only if its interval for one of ten bins leaves out what was stated there.
"""

from collections.abc import Iterator, Sequence
from math import exp, log
from textwrap import wrap

from tables.calibration_bins import UNIT, Sums, millionths_of
from tables.calibration_map import CalibrationMap
from tables.day_curve import DayBin, WeightedSums, bin_to_name, day_of
from tables.direction import OVER_CONFIDENT, UNDER_CONFIDENT
from tables.evidence_odds import NANO, evidence_odds
from tables.rate_intervals import consistency_band
from tables.recalibration import recalibration
from tables.score_ends import rate_ends
from tables.stream import Stream
from tables.thresholds import expected_success
from tables.verdict import CALIBRATED, INSUFFICIENT, MISCALIBRATED, has_enough
from trueup.calibration_words import names
from trueup.curve import Curve, Provisional, date_of
from trueup.plain_terminal import in_ascii
from trueup.plain_text import counted, duration, shown
from trueup.reliability_picture import WIDTH_MAX, PictureBin, picture
from trueup.standing_words import evidence_words
from trueup.trend_words import trend_words

STATUSES = ("positive", "negative", "ambiguous", "expired")
SURE_STANDARD_ERRORS = 2
_WORDS = {
    CALIBRATED: "calibrated within 0.05",
    INSUFFICIENT: "too little has settled to say more",
}


def curve_lines(curve: Curve, ascii_only: bool) -> list[str]:
    """Picture, sentence, what they rest on, trends, and what is open."""
    stream, bins = curve.stream, [picture_bin_of(held, curve) for held in curve.bins]
    lines = [
        stream_words(stream),
        *picture(shown(stream.action_type), bins, ascii_only),
        *_wrapped("", f"{shown(stream.action_type)}: {verdict_sentence(curve)}"),
        *(part for line in _what_it_rests_on(curve) for part in _wrapped("  ", line)),
        *(part for trend in curve.trends for part in _wrapped("  ", trend_words(trend))),
        *_open_lines(curve.provisional, ascii_only),
    ]
    return [in_ascii(line) for line in lines] if ascii_only else lines


def _wrapped(indent: str, text: str) -> list[str]:
    return wrap(text, WIDTH_MAX, initial_indent=indent, subsequent_indent=f"{indent}  ")


def stream_words(stream: Stream) -> str:
    """Which stream.

    >>> stream_words(Stream("t", "qualify", "deal_progression", 2_592_000_000, "judge"))
    'qualify → deal_progression within 30 days, confidence from judge'
    """
    return (
        f"{shown(stream.action_type)} → {shown(stream.outcome_type)} within"
        f" {duration(stream.window_ms)}, confidence from {shown(stream.confidence_source)}"
    )


def picture_bin_of(held: DayBin, curve: Curve) -> PictureBin:
    """Stated, right and how many over all records; the interval over lead ones."""
    sums, n = held.all.sums, round(held.all.n_effective)
    if not n:
        return PictureBin(0, 0, 0, 0.0, 1.0)
    low, high = held.lead.interval(curve.is_of_one_moment)
    return PictureBin(n, n * sums.sp / sums.n, n * sums.sy / sums.n, low, high)


# --- the sentence --------------------------------------------------------------------------------


def verdict_sentence(curve: Curve) -> str:
    """What was found, how sure that is, and what the threshold would do; of a part the first."""
    if not any(held.all.n for held in curve.bins):
        return "nothing has settled"
    if not curve.asked.is_whole:
        return f"{_finding(curve, curve.bins)}; {_how_many(curve)}"
    return "; ".join((_finding(curve, curve.tested), _evidence(curve), threshold_words(curve)))


def _finding(curve: Curve, bins: Sequence[DayBin]) -> str:
    lead = [held.lead for held in bins]
    index = bin_to_name(lead, curve.is_of_one_moment)
    if index is not None:
        stated = lead[index].sums.sp / UNIT / lead[index].sums.n
        return f"{_gap_words(lead[index].sums)} around {stated:.1f}"
    pooled = WeightedSums()
    for held in lead:
        pooled.sums.merge(held.sums)
        pooled.square_n += held.square_n
    sums = pooled.sums
    if sums.n:
        low, high = pooled.interval(curve.is_of_one_moment)
        if not low <= sums.sp / UNIT / sums.n <= high:
            return f"{_gap_words(sums)} on average"
    word = curve.stands.verdict
    if curve.asked.is_whole and word == MISCALIBRATED:
        return f"{word} ({names([held.sums for held in lead])})"
    plain = "no miscalibration seen"
    return _WORDS.get(word, plain) if curve.asked.is_whole else plain


def _gap_words(sums: Sums) -> str:
    gap = sums.sp / UNIT / sums.n - sums.sy / sums.n
    return f"{OVER_CONFIDENT if gap > 0 else UNDER_CONFIDENT} by {abs(gap):.2f}"


def _evidence(curve: Curve) -> str:
    stands = curve.stands
    since = f" since {date_of(day_of(stands.tested_since_ms))}" if curve.is_test_anew else ""
    alarm = ""
    if stands.alarm_at_ms is not None:
        alarm = f", alarm since {date_of(day_of(stands.alarm_at_ms))}"
    return f"{evidence_words(stands.log_evidence_nanos, stands.n)}{since}{alarm}"


def threshold_words(curve: Curve) -> str:
    """Where the threshold stands, and where the map in force, or that of the records, wants it."""
    stands = curve.stands
    now = stands.threshold_millionths / UNIT
    if stands.is_threshold_held:
        return f"threshold {now:.2f} is held there by a person"
    lead = [held.lead.sums for held in curve.tested]
    fitted, error = recalibration(lead), 0.0
    in_force = map_in_force(curve)
    if in_force is None:
        if not has_enough(lead):
            return f"threshold {now:.2f} stays: too little has settled to move it"
        in_force, error = fitted.map, fitted.threshold_standard_error(curve.target)
    wanted = in_force.inverse(curve.target)
    before, after = (_expected(curve, in_force, threshold) for threshold in (now, wanted))
    if f"{wanted:.2f}" == f"{now:.2f}":
        seen = " by the map, unobserved there" if after is None else ""
        return f"threshold {now:.2f} is where success is {curve.target:.2f}{seen}"
    if abs(wanted - now) < SURE_STANDARD_ERRORS * error:
        return f"threshold {now:.2f} stays: {wanted:.2f} is no surer a choice"
    if before is None or after is None:
        told = " → ".join("unobserved" if p is None else f"{p:.2f}" for p in (before, after))
        return (
            f"threshold {now:.2f} → {wanted:.2f} for success {curve.target:.2f}, expected there"
            f" {told}"
        )
    change = "raise" if wanted > now else "allow more actions: it would lower"
    return (
        f"threshold {now:.2f} → {wanted:.2f} would {change} success there from {before:.2f} to"
        f" {curve.target:.2f}"
    )


def _expected(curve: Curve, found: CalibrationMap, threshold: float) -> float | None:
    lead = [held.lead.sums for held in curve.bins]
    return expected_success(found, lead, millionths_of(threshold))


def map_in_force(curve: Curve) -> CalibrationMap | None:
    """The map that was adopted; None where there is none."""
    a, b = curve.stands.map_a_millionths, curve.stands.map_b_millionths
    return None if a is None or b is None else CalibrationMap(a, b)


def mean_evidence(curves: Sequence[Curve]) -> float:
    """Ln of the plain mean of the streams' E: that of an action type.

    >>> from types import SimpleNamespace as of
    >>> two = [of(stands=of(log_evidence_nanos=int(log(e) * NANO))) for e in (1, 3)]
    >>> round(exp(mean_evidence(two)), 6)
    2.0
    """
    logs = [curve.stands.log_evidence_nanos / NANO for curve in curves]
    top = max(logs)
    return top + log(sum(exp(one - top) for one in logs) / len(logs))


def mean_evidence_words(curves: Sequence[Curve]) -> str:
    """The same in odds."""
    odds = evidence_odds(int(mean_evidence(curves) * NANO))
    streams = counted(len(curves), "stream")
    return f"{shown(curves[0].stream.action_type)} over its {streams}: evidence {odds}"


# --- what it rests on ----------------------------------------------------------------------------


def _how_many(curve: Curve) -> str:
    count = sum(held.all.n for held in curve.bins)
    if curve.asked.span.half_life_days is None:
        return counted(count, "settled action")
    worth = sum(held.all.n_effective for held in curve.bins)
    return f"{counted(count, 'settled action')}, worth {worth:,.0f}"


def _what_it_rests_on(curve: Curve) -> Iterator[str]:
    span, bins = curve.asked.span, [held.all for held in curve.bins]
    told = []
    if curve.asked.segment:
        told.append("those of {} {}".format(*map(shown, curve.asked.segment)))
    if curve.first_day is not None and curve.last_day is not None:
        told.append(f"actions of {date_of(curve.first_day)} to {date_of(curve.last_day)}")
    elif curve.summed_up_to is not None and curve.last_day is not None:
        told.append(
            f"actions up to {date_of(curve.last_day)}, what was known by"
            f" {date_of(curve.summed_up_to)} as one sum"
        )
    if span.known_by_day is not None:
        told.append(f"as it was known on {date_of(span.known_by_day)}")
    if span.half_life_days is not None:
        told.append(f"a day counts half as much as one {span.half_life_days:g} days later")
    if told:
        yield ", ".join(told)
    if any(held.n for held in bins):
        yield (
            "intervals are for this one moment: looked at again and again, they miss more often"
            if curve.is_of_one_moment
            else "intervals hold however often you look"
        )
    if curve.has_bands:
        yield from _band_words(curve)
    yield from _excluded_words([held.sums for held in bins])
    yield from _status_words(curve)


def statuses_of(curve: Curve) -> dict[str, int | None]:
    """How many actions by status; `pending` is None where that is not known of a part."""
    told: dict[str, int | None] = {
        status: sum(held.counts.get(status, 0) for held in curve.bins) for status in STATUSES
    }
    return told | {"pending": None if curve.pending is None else sum(curve.pending)}


def _status_words(curve: Curve) -> Iterator[str]:
    statuses = statuses_of(curve)
    if any(statuses.values()):
        yield ", ".join(f"{n:,} {status}" for status, n in statuses.items() if n is not None)


def pooled_sums(bins: Sequence[Sums]) -> Sums:
    """The sums over all bins."""
    pooled = Sums()
    for sums in bins:
        pooled.merge(sums)
    return pooled


def _band_words(curve: Curve) -> Iterator[str]:
    """Bins where an agent that is right about itself would hardly ever come out."""
    outside = []
    for index, band in enumerate(bands(curve)):
        sums = curve.bins[index].lead.sums
        if band is not None and not band[0] <= sums.sy / sums.n <= band[1]:
            outside.append(f"{10 * index}–{10 * index + 10} %")
    if any(held.lead.sums.n for held in curve.bins):
        yield f"outside what a perfect agent would show: {', '.join(outside) or 'nothing'}"


def bands(curve: Curve) -> list[tuple[float, float] | None]:
    """By bin where a perfect agent's rate lies, all bins together; unweighted sums only."""
    occupied = sum(1 for held in curve.bins if held.lead.sums.n)
    return [consistency_band(held.lead.sums, occupied) for held in curve.bins]


def _excluded_words(bins: Sequence[Sums]) -> Iterator[str]:
    pooled = pooled_sums(bins)
    ends = rate_ends(pooled)
    if pooled.excluded_n and ends:
        share = 100 * pooled.excluded_n / (pooled.n + pooled.excluded_n)  # decay weighs them too
        yield (
            f"{share:.1f} % ended without a result that counts; whatever they were, between"
            f" {100 * ends[0]:.0f} and {100 * ends[1]:.0f} % of all were right"
        )


# --- what is open --------------------------------------------------------------------------------


def _open_lines(found: Provisional | None, ascii_only: bool) -> Iterator[str]:
    if found is None or not found.n:
        return
    if found.why_withheld:
        told = (
            f"{counted(found.n, 'action')} still open; no provisional curve: {found.why_withheld}"
        )
        yield from _wrapped("", told)
        return
    yield from picture("still open, provisional", _open_bins(found), ascii_only, "open")
    if found.pooled is not None and found.check.ratio is not None:
        rate = found.pooled
        yield from _wrapped(
            "  ",
            f"provisional: {100 * rate.rate:.0f} % ({100 * rate.low:.0f}–{100 * rate.high:.0f})"
            f" of {found.n:,} open will be right, from the {100 * rate.maturity:.0f} % of the news"
            f" that has come; so told, the last closed cohort was {found.check.ratio:.2f} times"
            " what came",
        )


def _open_bins(found: Provisional) -> list[PictureBin]:
    return [
        PictureBin(n, sp, n * rate.rate, rate.low, rate.high)
        if rate is not None
        else PictureBin(0, 0, 0, 0.0, 1.0)
        for n, sp, rate in zip(found.counts, found.sp_millionths, found.rates, strict=True)
    ]
