"""The numbers behind a curve, for a program and for who asks with `--numbers`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from tables.calibration_bins import UNIT, Sums
from tables.day_curve import DayBin, weighted_error
from tables.debiased_error import DebiasedError
from tables.evidence_odds import NANO
from tables.recalibration import recalibration
from tables.score_ends import Ends, brier_ends, error_ends, rate_ends, silence_ends
from tables.scores import (
    MCE_RECORDS_MIN,
    brier_parts,
    brier_score,
    brier_skill,
    expected_calibration_error,
    maximum_calibration_error,
)
from tables.verdict import ALPHA, DELTA
from trueup.calibration_words import error_json, error_words
from trueup.curve import Curve, Provisional, date_of
from trueup.curve_words import (
    STATUSES,
    bands,
    map_in_force,
    pooled_sums,
    statuses_of,
    verdict_sentence,
)
from trueup.plain_terminal import in_ascii
from trueup.plain_text import utc_s
from trueup.trend_words import trend_figures, trends_json


def curve_json(curve: Curve) -> dict[str, Any]:
    """A curve in plain values; confidences, rates and errors from 0 to 1, ln_e in nats."""
    span, every = curve.asked.span, [held.all.sums for held in curve.bins]
    days, summed = (span.since_day, span.until_day, span.known_by_day), curve.summed_up_to
    since, until, known_by = (None if d is None else date_of(d).isoformat() for d in days)
    return {
        "stream": curve.stream._asdict(),
        "span": {
            "since": since,
            "until": until,
            "known_by": known_by,
            "summed_up_to": summed and date_of(summed).isoformat(),
            "half_life_days": span.half_life_days,
            "segment": curve.asked.segment,
            "is_of_one_moment": curve.is_of_one_moment,
        },
        "sentence": verdict_sentence(curve),
        "verdict": curve.stands.verdict,
        "alpha": ALPHA,
        "delta": DELTA,
        "is_calibrated": curve.stands.is_calibrated,
        "n": sum(held.all.n for held in curve.bins),
        "statuses": (statuses := statuses_of(curve)),
        "actual_ends": rate_ends(pooled_sums(every)),
        "silence_ends": silence_ends(statuses),
        "brier": brier_score(every),
        "brier_ends": brier_ends(every),
        "brier_parts": _parts(every),
        "brier_skill": brier_skill(every),
        "ece": expected_calibration_error(every),
        "ece_ends": error_ends(every),
        "mce": _greatest_error(curve),
        "ece2": error_json(_error(curve)),
        "smooth_ece": curve.smooth_error,
        "evidence": _evidence(curve),
        "threshold": _threshold(curve),
        "trends": trends_json(curve.trends),
        "bins": list(_bins(curve)),
        "unobserved": [index for index, held in enumerate(curve.bins) if not held.all.n],
        "provisional": None if curve.provisional is None else _provisional(curve.provisional),
    }


def _error(curve: Curve) -> DebiasedError | None:
    return weighted_error([held.lead for held in curve.bins])


def _parts(bins: Sequence[Sums]) -> dict[str, float] | None:
    parts = brier_parts(bins)
    if parts is None:
        return None
    return {name: float(part) for name, part in asdict(parts).items()}


def _greatest_error(curve: Curve) -> float | None:
    """MCE; where days are weighted a bin counts that is worth as many records as it has to have."""
    worth = [held.all for held in curve.bins if held.all.n_effective >= MCE_RECORDS_MIN]
    return maximum_calibration_error([held.sums for held in worth])


def _evidence(curve: Curve) -> dict[str, Any]:
    stands = curve.stands
    return {
        "ln_e": stands.log_evidence_nanos / NANO,
        "ln_e_worst": stands.worst_log_evidence_nanos / NANO,
        "ln_e_peak": stands.peak_log_evidence_nanos / NANO,
        "n": stands.n,
        "excluded_n": stands.excluded_n,
        "since": utc_s(stands.tested_since_ms),
        "alarm_at": None if stands.alarm_at_ms is None else utc_s(stands.alarm_at_ms),
    }


def _threshold(curve: Curve) -> dict[str, Any]:
    in_force = map_in_force(curve)
    fitted = recalibration([held.lead.sums for held in curve.tested])
    return {
        "value": curve.stands.threshold_millionths / UNIT,
        "is_held": curve.stands.is_threshold_held,
        "target": curve.target,
        "reason": curve.stands.reason,
        "map": in_force and {"a": in_force.a, "b": in_force.b},
        "fitted": {
            "a": fitted.map.a,
            "b": fitted.map.b,
            "threshold": fitted.threshold(curve.target),
            "standard_error": fitted.threshold_standard_error(curve.target),
        },
    }


def _bins(curve: Curve) -> Iterator[dict[str, Any]]:
    band = bands(curve) if curve.has_bands else [None] * len(curve.bins)
    for index, held in enumerate(curve.bins):
        pending = curve.pending[index] if curve.pending else None
        if held.all.n or held.all.sums.excluded_n or pending:
            yield _bin(index, held, curve, band[index], pending)


def _bin(
    index: int, held: DayBin, curve: Curve, band: Ends | None, pending: int | None
) -> dict[str, Any]:
    sums, lead = held.all.sums, held.lead.sums
    statuses = {status: held.counts.get(status, 0) for status in STATUSES}
    return {
        "index": index,
        "n": held.all.n,
        "n_effective": held.all.n_effective,
        "stated": sums.sp / UNIT / sums.n if sums.n else None,
        "actual": sums.sy / sums.n if sums.n else None,
        "actual_ends": rate_ends(sums),
        "lead_n": held.lead.n,
        "lead_actual": lead.sy / lead.n if lead.n else None,
        "interval": held.lead.interval(curve.is_of_one_moment),
        "band": band,
        "silence_ends": silence_ends(statuses),
        "statuses": statuses | {"pending": pending},
    }


def _provisional(found: Provisional) -> dict[str, Any]:
    rates = enumerate(zip(found.counts, found.sp_millionths, found.rates, strict=True))
    return {
        "n": found.n,
        "why_withheld": found.why_withheld,
        "check_ratio": found.check.ratio,
        "pooled": found.pooled and asdict(found.pooled),
        "bins": [
            {"index": index, "n": n, "stated": sp / UNIT / n} | (asdict(rate) if rate else {})
            for index, (n, sp, rate) in rates
            if n
        ],
    }


def number_lines(curve: Curve, ascii_only: bool) -> list[str]:
    """Scores, both ends, evidence, fit, trends and a row for each bin."""
    told = curve_json(curve)
    lines = [
        f"Brier {_figure(told['brier'])} {_ends(told['brier_ends'])},"
        f" ECE {_figure(told['ece'])} {_ends(told['ece_ends'])},"
        f" {error_words(_error(curve), curve.smooth_error, ascii_only)}",
        *_parts_line(told),
        f"right {_ends(told['actual_ends'])} whatever what does not count was,"
        f" {_ends(told['silence_ends'])} whatever all that was ambiguous or expired was",
        f"verdict {told['verdict']}: an alarm at evidence 1 : {1 / told['alpha']:g} (alpha"
        f" {told['alpha']:g}), calibrated where the error is at most {told['delta']:g} (delta)",
        _evidence_line(told["evidence"]),
        _threshold_line(told["threshold"]),
        *trend_figures(curve.trends),
        f"  {'bin':8} {'n':>7} {'worth':>8} {'stated':>6} {'right':>6} {'any way':13}"
        f" {'silence too':13} {'lead':>7} {'right':>6} {'interval':13} {'perfect':13} positive"
        " negative ambiguous expired pending",
        *map(_row, told["bins"]),
        *_unobserved_line(told["unobserved"]),
    ]
    return [in_ascii(line) for line in lines] if ascii_only else lines


def _parts_line(told: dict[str, Any]) -> Iterator[str]:
    if parts := told["brier_parts"]:
        reliability, resolution, uncertainty, variance, covariance = map(_figure, parts.values())
        skill, mce = (_figure(told[name]) or "none" for name in ("brier_skill", "mce"))
        yield (
            f"Brier = reliability {reliability} - resolution {resolution} + uncertainty"
            f" {uncertainty} + within bins {variance} - {covariance}; skill {skill}, MCE {mce}"
        )


def _evidence_line(told: dict[str, Any]) -> str:
    alarm = f", alarm at {told['alarm_at']}" if told["alarm_at"] else ""
    return (
        f"ln E {told['ln_e']:.4f}, {told['ln_e_worst']:.4f} if what says nothing had said the"
        f" worst, peak {told['ln_e_peak']:.4f}; {told['n']:,} lead records, of which"
        f" {told['excluded_n']:,} say nothing; since {told['since']}{alarm}"
    )


def _threshold_line(told: dict[str, Any]) -> str:
    found, fitted = told["map"], told["fitted"]
    in_force = f"map in force a {found['a']:.4f} b {found['b']:.4f}" if found else "no map in force"
    return (
        f"threshold {told['value']:.4f} for success {told['target']:.2f}, {in_force}; the records'"
        f" map a {fitted['a']:.4f} b {fitted['b']:.4f} asks for {fitted['threshold']:.4f}"
        f" ± {fitted['standard_error']:.4f}"
    )


def _row(told: dict[str, Any]) -> str:
    span = f"{10 * told['index']}–{10 * told['index'] + 10} %"
    statuses = " ".join(
        f"{'' if count is None else f'{count:,}':>{len(status)}}"
        for status, count in told["statuses"].items()
    )
    return (
        f"  {span:8} {told['n']:>7,} {told['n_effective']:>8,.1f} {_figure(told['stated']):>6}"
        f" {_figure(told['actual']):>6} {_ends(told['actual_ends']):13}"
        f" {_ends(told['silence_ends']):13} {told['lead_n']:>7,}"
        f" {_figure(told['lead_actual']):>6} {_ends(told['interval']):13} {_ends(told['band']):13}"
        f" {statuses}"
    )


def _unobserved_line(indices: list[int]) -> Iterator[str]:
    """Where nothing has come out, neighbours together.

    >>> list(_unobserved_line([0, 1, 2, 5, 9])), list(_unobserved_line([]))
    (['  unobserved: 0–30 %, 50–60 %, 90–100 %'], [])
    """
    begins = [index for index in indices if index - 1 not in indices]
    ends = [index for index in indices if index + 1 not in indices]
    if spans := [f"{10 * a}–{10 * b + 10} %" for a, b in zip(begins, ends, strict=True)]:
        yield f"  unobserved: {', '.join(spans)}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _ends(ends: Ends | None) -> str:
    """Both ends of a figure.

    >>> _ends((0.25, 0.5)), _ends(None)
    ('.2500–.5000', '')
    """
    if ends is None:
        return ""
    return "–".join(f"{end:.4f}".removeprefix("0") for end in ends)
