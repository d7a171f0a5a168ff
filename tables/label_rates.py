"""How often each label came true: exact counts of outcomes whose actions stated a word, no number.

A label is no probability: nothing here has a bin, a Brier score or an ECE.
"""

from dataclasses import replace

from agents_topics.label_rates import LabelCounts, LabelRate
from tables.stream import Stream

LabelKey = tuple[Stream, str]


def empty_rate(stream: Stream, label: str) -> LabelRate:
    """A label of a stream before anything has settled."""
    return LabelRate(
        **stream._asdict(),
        confidence_label=label,
        all=LabelCounts(),
        lead=LabelCounts(),
        last_settled_at_ms=0,
    )


def count(rate: LabelRate, status: str, y: int | None, is_lead: bool, settled_at_ms: int) -> None:
    """Counts a settled outcome, once; y is None where it says nothing.

    >>> rate = empty_rate(Stream("t", "qualify", "deal_progression", 60000, "judge"), "high")
    >>> count(rate, "positive", 1, True, 7); count(rate, "ambiguous", None, False, 9)
    >>> rate.all.n, rate.all.positive, rate.all.ambiguous, rate.lead.n, rate.last_settled_at_ms
    (1, 1, 1, 1, 9)
    """
    for counts in (rate.all, rate.lead) if is_lead else (rate.all,):
        counts.n += y is not None
        setattr(counts, status, getattr(counts, status) + 1)
    rate.last_settled_at_ms = settled_at_ms


def entered(counts: LabelCounts) -> int:
    """How many outcomes were counted, those that say nothing included."""
    return counts.positive + counts.negative + counts.ambiguous + counts.expired


def label_key(stream: Stream, label: str) -> str:
    """The record key of a label; one part longer than a bin's, so that they never meet.

    >>> label_key(Stream("t", "qualify", "deal_progression", 60000, "judge"), "high")
    't/qualify/deal_progression/60000/judge/label/high'
    """
    return "/".join(map(str, (*stream, "label", label)))


def told(rate: LabelRate) -> LabelRate:
    """The counts as they stand now."""
    return replace(rate, all=replace(rate.all), lead=replace(rate.lead))
