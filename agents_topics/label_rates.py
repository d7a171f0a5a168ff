"""What `calibration-updates` says of actions that stated a word for their confidence, no number.

They are in no bin and have neither Brier score nor ECE: nobody knows what probability a word means.
What they have is how often each word came true.
"""

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class LabelCounts:
    """Settled outcomes of a label. Its rate is `positive` / `n`, unknown where n is 0."""

    n: int = 0
    """How many say something: positive, negative, and expired where the policy counts it."""
    positive: int = 0
    """How many came true."""
    negative: int = 0
    """How many did not."""
    ambiguous: int = 0
    """How many say nothing, because their signals contradict each other."""
    expired: int = 0
    """How many had no signal in their window."""


@dataclass(slots=True, kw_only=True)
class LabelRate:
    """The absolute counts of one label of one stream. Topic `calibration-updates`, beside the bins.

    Only of actions that stated a label and no number. A reader tells it from a bin by the field
    `confidence_label`, which a bin has not. Without any count it is gone, because its tenant was
    forgotten.
    """

    tenant_id: str
    """Whose it is."""
    action_type: str
    """What was done."""
    outcome_type: str
    """Which outcome."""
    window_ms: int
    """How long its window is."""
    confidence_source: str
    """Where the labels come from."""
    confidence_label: str
    """The word that the agents said."""
    all: LabelCounts
    """Over all settled outcomes."""
    lead: LabelCounts
    """Over the one that leads each conversation and window in the stream."""
    last_settled_at_ms: int
    """The latest settle time among them."""
