"""The rules over several fields of an event; the limits of single fields are the types' own."""

from agents_topics.events import Action, Feedback, InputEvent, Interaction

HUMAN_LABEL = "human_label"
FUTURE_MS_MAX = 600_000
"""How far an event may be ahead of the broker's timestamp of its record."""
"""The kind of an interaction that is a person's verdict on one action."""

REVIEWER_LENGTH_MAX = 100
NO_CONFIDENCE = "is missing: an action must have it, or else a confidence_label"
RATINGS = {"inline": range(-1, 2), "dashboard": range(1, 6)}
"""The scale of each source of feedback."""


def is_without_confidence(event: InputEvent) -> bool:
    """Whether it is an action that states neither a number nor a label."""
    return (
        isinstance(event, Action)
        and event.predicted_confidence is None
        and event.confidence_label is None
    )


def broken_rule_of(event: InputEvent) -> tuple[str, str] | None:
    """The first rule that an event breaks: its field, and what must be."""
    if isinstance(event, Feedback):
        scale = RATINGS[event.source]
        if event.rating not in scale:
            return (
                "rating",
                f"must be from {scale[0]} to {scale[-1]} where source is {event.source}",
            )
    elif isinstance(event, Interaction) and event.kind == HUMAN_LABEL:
        return _broken_label(event)
    return None


def _broken_label(event: Interaction) -> tuple[str, str] | None:
    for name, held in (("action_id", event.action_id), ("label", event.label)):
        if held is None:
            return name, f"is missing: a {HUMAN_LABEL} must have it"
    metadata = event.metadata or {}
    score, reviewer = metadata.get("score"), metadata.get("reviewer")
    is_number = isinstance(score, int | float) and not isinstance(score, bool)
    if score is not None and not (is_number and 0 <= score <= 1):  # type: ignore[operator]
        return "metadata.score", f"must be a number from 0 to 1 in a {HUMAN_LABEL}"
    is_name = isinstance(reviewer, str) and 1 <= len(reviewer) <= REVIEWER_LENGTH_MAX
    if reviewer is not None and not is_name:
        return "metadata.reviewer", f"must be a text of 1 to {REVIEWER_LENGTH_MAX} characters"
    return None
