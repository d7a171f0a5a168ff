"""The reliability diagrams of an action type as a picture, by matplotlib (the extra `pictures`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tables.calibration_bins import UNIT
from trueup.curve import Curve
from trueup.curve_words import bands, stream_words, verdict_sentence

mpl.rcParams["svg.hashsalt"] = "trueup"  # the same curve gives the same file
SETTLED, OPEN, PERFECT = "#1f6f8b", "#d98e04", "#8a8a8a"
WIDTH, HEIGHT = 7.0, 7.4
"""Of one stream, in inches."""


def save_picture(curves: Sequence[Curve], path: Path) -> None:
    """Writes a picture with one diagram for each stream; the path's ending says which kind."""
    figure = Figure(figsize=(WIDTH * len(curves), HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(curves), squeeze=False, height_ratios=(4, 1), sharex=True)
    for column, curve in enumerate(curves):
        _draw_rates(axes[0][column], curve)
        _draw_counts(axes[1][column], curve)
    is_svg = path.suffix == ".svg"
    figure.savefig(path, dpi=150, metadata={"Date": None} if is_svg else None)


def _draw_rates(axes: Any, curve: Curve) -> None:
    axes.plot([0, 1], [0, 1], color=PERFECT, linestyle="--", linewidth=1, label="says what is so")
    settled = [held for held in curve.bins if held.all.sums.n]
    stated = [held.all.sums.sp / UNIT / held.all.sums.n for held in settled]
    actual = [held.all.sums.sy / held.all.sums.n for held in settled]
    ends = [held.lead.interval(curve.is_of_one_moment) for held in settled]
    _draw_bands(axes, curve)
    axes.vlines(stated, *_columns(ends), color=SETTLED, linewidth=5, alpha=0.3)
    axes.plot(stated, actual, color=SETTLED, marker="o", label="settled, 95 % each")
    found = curve.provisional
    if found is not None and not found.why_withheld:
        open_bins = zip(found.counts, found.sp_millionths, found.rates, strict=True)
        rows = [(sp / UNIT / n, rate) for n, sp, rate in open_bins if rate is not None]
        open_stated = [at for at, _ in rows]
        open_ends = [(rate.low, rate.high) for _, rate in rows]
        axes.vlines(open_stated, *_columns(open_ends), color=OPEN, linewidth=2, alpha=0.6)
        label = "still open, provisional"
        open_rates = [rate.rate for _, rate in rows]
        axes.plot(open_stated, open_rates, "D", color=OPEN, markersize=4, label=label)
    if curve.asked.is_whole:
        now = curve.stands.threshold_millionths / UNIT
        axes.axvline(now, color=PERFECT, linewidth=0.8, label=f"threshold {now:.2f}")
    axes.set(xlim=(0, 1), ylim=(-0.02, 1.02), ylabel="is right")
    axes.set_title(f"{stream_words(curve.stream)}\n{_wrapped(curve)}", fontsize=9)
    axes.legend(loc="upper left", fontsize=8, frameon=False)


def _draw_bands(axes: Any, curve: Curve) -> None:
    """Where a perfect agent's rates would be, if one moment is asked about."""
    if not curve.has_bands:
        return
    rows = [
        (held.lead.sums.sp / UNIT / held.lead.sums.n, band)
        for held, band in zip(curve.bins, bands(curve), strict=True)
        if band is not None
    ]
    ends = _columns([band for _, band in rows])
    label = "a perfect agent"
    axes.vlines([at for at, _ in rows], *ends, color=PERFECT, linewidth=12, alpha=0.2, label=label)


def _wrapped(curve: Curve) -> str:
    return verdict_sentence(curve).replace("; ", "\n")


def _columns(ends: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [low for low, _ in ends], [high for _, high in ends]


def _draw_counts(axes: Any, curve: Curve) -> None:
    middles = [(2 * index + 1) / 20 for index in range(10)]
    axes.bar(middles, [held.all.n for held in curve.bins], width=0.08, color=SETTLED)
    found = curve.provisional
    if found is not None and found.n:
        bottoms = [held.all.n for held in curve.bins]
        axes.bar(middles, found.counts, width=0.08, bottom=bottoms, color=OPEN, alpha=0.6)
    axes.set(xlabel="says", ylabel="actions")
