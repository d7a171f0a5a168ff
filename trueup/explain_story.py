"""The story of an action as `trueup explain` tells it: short sentences with times."""

import textwrap
from collections.abc import Mapping
from typing import Any

from agents_topics.events import Outcome, to_timestamp
from agents_topics.policy import BEGINNING_OF_TIME_MS, PolicyVersion
from agents_topics.topics import AGENT_ACTIONS, AGENT_INTERACTIONS
from trueup.explain import Arrived, Case, Chapter, Nearby
from trueup.explain_meaning import (
    Meaning,
    among_whom,
    condition_of,
    meaning_of,
    rule_in_words,
    signal_in_words,
    stated_in_words,
)
from trueup.plain_text import counted, duration, shown, utc_s

LINES_MAX = 40
WIDTH, LABEL_WIDTH = 100, 12


def story_lines(case: Case, grace_ms: Mapping[str, int]) -> list[str]:
    """The whole story."""
    lines = [*_opening(case), ""]
    for chapter in case.chapters:
        lines += [*_chapter(case, chapter, grace_ms), ""]
    lines += _other_records_of_the_action(case)
    while not lines[-1]:
        lines.pop()
    return [part for line in lines for part in _wrapped(line)]


def _wrapped(line: str) -> list[str]:
    indent = len(line) - len(line.lstrip())
    hanging = " " * (LABEL_WIDTH if indent == 2 and line[LABEL_WIDTH - 1 :][:1] == " " else indent)
    return textwrap.wrap(
        line, WIDTH, subsequent_indent=hanging + "  " * (hanging == " " * indent),
        break_long_words=False, break_on_hyphens=False,
    ) or [""]  # fmt: skip


def _opening(case: Case) -> list[str]:
    about = case.about
    who = shown(about.agent_id) if about.agent_id else "The agent"
    version = f" {shown(about.agent_version)}" if about.agent_version else ""
    model = f" ({shown(about.model)})" if about.model else ""
    source = {"unknown": "", "self_report": ", by its own report"}.get(
        about.confidence_source, f", by {about.confidence_source}"
    )
    lines = [
        f"Action {shown(about.action_id)}",
        f"  conversation {shown(about.conversation_id)}, tenant {about.tenant_id}",
        "",
        f"{utc_s(about.created_at_ms)}  {who}{version}{model} did {shown(about.action_type)} and "
        f"{stated_in_words(about)}{source}.",
    ]
    state = [f"the deal stood at {about.deal_stage}"] if about.deal_stage else []
    if case.action and case.action.count is not None:
        state.append(f"the conversation counted {counted(case.action.count, 'interaction')}")
    if state:
        lines.append(f"  Then {' and '.join(state)}.")
    if case.action is None:
        lines.append(
            "  The topic agent-actions does not hold it any more: what follows is what was kept."
        )
    return lines


def _chapter(case: Case, chapter: Chapter, grace_ms: Mapping[str, int]) -> list[str]:
    outcome = chapter.outcome
    window_ms = outcome.window_expires_at_ms - outcome.created_at_ms
    version = case.policy.by_digest.get(outcome.policy_version)
    lines = [
        f"{shown(outcome.outcome_type)}: {_headline(outcome, _decider(case, chapter))}",
        f"  Window    {duration(window_ms)}, until {utc_s(outcome.window_expires_at_ms)}; opened "
        f"by the rule {shown(outcome.outcome_type)} of {shown(outcome.action_type)}, policy "
        f"version {outcome.policy_version}{_in_force(version)}",
    ]
    if outcome.settled_at_ms > outcome.window_expires_at_ms:
        lines.append(
            f"            a person's label may decide until {utc_s(outcome.settled_at_ms)}"
        )
    if chapter.rule:
        lines.append(f"  Rule      {rule_in_words(chapter.rule)}")
    lines += _came(case, chapter)
    lines += _said(chapter)
    lines += _ending(chapter, grace_ms)
    return lines


def _decider(case: Case, chapter: Chapter) -> tuple[Arrived, Meaning] | None:
    """The interaction that decided, where the topics still hold it."""
    if case.action is None or chapter.held is None:
        return None
    inside, _ = told_interactions(case, chapter)
    return next((item for item in inside if item[1].decided), None)


def _headline(outcome: Outcome, decider: tuple[Arrived, Meaning] | None) -> str:
    so_far = "" if outcome.is_settled else " so far"
    if outcome.status == "pending":
        return "pending; nothing has decided it yet."
    if outcome.decided_by is None:
        return "expired; the window closed, and nothing had decided it."
    after = duration((outcome.resolved_at_ms or 0) - outcome.created_at_ms)
    if outcome.signal_source == "human_label":
        who, rule = f"A person's label {shown(outcome.decided_by)}", ""
    else:
        kind = f"{shown(decider[0].event.kind)} " if decider else ""
        who = f"The interaction {kind}{shown(outcome.decided_by)}"
        signals = decider[1].signals if decider else ()
        rule = "".join(f', by the rule "{signal_in_words(s)}"' for s in signals)
    if outcome.status == "ambiguous" and outcome.signal_source != "human_label":
        rule += "; at the same millisecond others said the opposite"
    verb = "decided" if outcome.is_settled else "decides"
    return f"{outcome.status}{so_far}. {who} {verb} it, {after} later{rule}."


def _in_force(version: PolicyVersion | None) -> str:
    if version is None:
        return ", which the policy file lacks"
    if version.effective_from_ms == BEGINNING_OF_TIME_MS:
        return ", in force from the beginning"
    return f", in force from {utc_s(version.effective_from_ms)}"


def _came(case: Case, chapter: Chapter) -> list[str]:
    """The interactions of the window and their meaning; the others only counted."""
    if case.action is None or chapter.held is None:
        return []
    inside, outside = told_interactions(case, chapter)
    lines = []
    for one, meaning in inside[:LINES_MAX]:
        lines.append(f"    {_when(one, chapter.outcome)}: {_named(one)} {_meant(meaning)}.")
    if len(inside) > LINES_MAX:
        lines.append(f"    … and {len(inside) - LINES_MAX:,} more; --json has them all")
    head = "  Came" if lines else "  Came      nothing in the window"
    tail = [f"    Outside the window: {_counted(outside)}."] if outside else []
    return [head, *lines, *tail]


def told_interactions(
    case: Case, chapter: Chapter
) -> tuple[list[tuple[Arrived, Meaning]], list[tuple[Arrived, Meaning]]]:
    """The conversation's interactions with their meaning: those of the window, and the others."""
    told = [
        (one, meaning_of(case, chapter, one))
        for one in case.arrived
        if one.topic == AGENT_INTERACTIONS.name
    ]
    told.sort(key=lambda item: (item[0].at_ms or 0, item[0].offset))
    # What cannot be read has no time: it may have been meant for the window.
    inside = [item for item in told if item[1].is_in_window or item[0].at_ms is None]
    return inside, [item for item in told if item not in inside]


def _counted(outside: list[tuple[Arrived, Meaning]]) -> str:
    before = [m for m in outside if m[1].why.endswith("before the action")]
    after = [m for m in outside if m[1].why.endswith(("after the window", "the window's end"))]
    rest = len(outside) - len(before) - len(after)
    parts = [f"{len(before):,} before the action"] if before else []
    if after:
        first, meaning = after[0]
        parts.append(f"{len(after):,} after it, the first {_named(first)} {meaning.why}")
    if rest:
        parts.append(f"{rest:,} late, copied, ignored or refused")
    return ", ".join(parts)


def _when(one: Arrived, outcome: Outcome) -> str:
    if one.at_ms is None:
        return f"at an unknown time (it arrived {utc_s(one.broker_ms)})"
    return f"{duration(one.at_ms - outcome.created_at_ms)} later ({utc_s(one.at_ms)})"


def _named(one: Arrived) -> str:
    if one.event is not None:
        again = " (sent again after it was refused)" if one.is_redriven else ""
        return f"{shown(one.event.kind)} {shown(one.event.event_id)}{again}"
    if one.late is not None:
        return f"the event {shown(one.late.event_id)}"
    return f"a record that breaks the contract ({one.topic}[{one.partition}]@{one.offset})"


def _meant(meaning: Meaning) -> str:
    if not meaning.means:
        return f"counts for nothing: {meaning.why}"
    conditions = dict.fromkeys(condition_of(signal) for signal in meaning.signals)
    condition = "" if "" in conditions else " and".join(conditions).strip()
    told = f"{condition} is {' and '.join(meaning.means)}".strip()
    if meaning.decided:
        return f"{told}, and decides"
    return f"{told}; {meaning.why}" if meaning.why else told


def _said(chapter: Chapter) -> list[str]:
    """Each revision, when it was written, what it superseded."""
    lines = ["  Said"]
    before: Outcome | None = None
    for revision in chapter.revisions[-LINES_MAX:]:
        told = revision.outcome
        words = f"{told.status}"
        if told.decided_by:
            words += f" by {shown(told.decided_by)}"
        if told.is_settled:
            words += ", settled: final"
        if before is not None and _verdict(before) != _verdict(told):
            words += f"; this superseded {before.status}" + (
                f" by {shown(before.decided_by)}" if before.decided_by else ""
            )
        known = told.known_at_ms
        if known is not None and (before is None or before.decided_by != told.decided_by):
            words += f" (it was known {utc_s(known)})"
        lines.append(f"    {utc_s(revision.written_ms)}  revision {told.revision}: {words}")
        before = told
    return lines if before else []


def _verdict(outcome: Outcome) -> tuple[Any, ...]:
    return outcome.status, outcome.decided_by


def _ending(chapter: Chapter, grace_ms: Mapping[str, int]) -> list[str]:
    outcome = chapter.outcome
    if not outcome.is_settled:
        return [
            f"  Settles   once {due_in_words(outcome.settled_at_ms, grace_ms)} (grace included)"
        ]
    end = "the window's end" if outcome.settled_at_ms == outcome.window_expires_at_ms else (
        "the end of the label window"
    )  # fmt: skip
    lines = [f"  Settled   as of {utc_s(outcome.settled_at_ms)}, {end}"]
    if outcome.score is not None and outcome.score not in (0, 1):
        of_stages = outcome.signal_source == "automatic"
        lines[-1] += f"; score {outcome.score:.2f}" + (", how far the deal came" * of_stages)
    lines.append(f"  Counts as {_bins(outcome)}")
    law = chapter.by_law
    if law and (law.status, law.decided_by) != (outcome.status, outcome.decided_by):
        lines.append(
            f"  But       the topics now say {law.status}"
            + (f" by {shown(law.decided_by)}" if law.decided_by else "")
            + ": `trueup audit` finds out which is right"
        )
    return lines


def _bins(outcome: Outcome) -> str:
    if not outcome.calibrates:
        return "neither success nor failure: another outcome of the action calibrates"
    y = {"positive": 1, "negative": 0, "expired": 0 if outcome.expired_counts else None}.get(
        outcome.status
    )
    if y is None:
        where = f"kept beside those {among_whom(outcome)}"
        return f"neither: {outcome.status} says nothing of the confidence; {where}"
    stream = f"{shown(outcome.action_type)}, {shown(outcome.outcome_type)}"
    lead = (
        "and leads: no earlier action of the conversation had its window open"
        if outcome.is_lead
        else "but does not lead: an earlier action of the conversation had its window open"
    )
    result = "success" if y else "failure"
    return (
        f"a {result} among those {among_whom(outcome)} of {stream} "
        f"({outcome.confidence_source}); {lead}"
    )


def due_in_words(settled_at_ms: int, grace_ms: Mapping[str, int]) -> str:
    """What each topic's time must have passed."""
    due = {topic: utc_s(settled_at_ms + own_ms) for topic, own_ms in grace_ms.items()}
    if len(set(due.values())) == 1:
        return f"the times of both topics have passed {next(iter(due.values()))}"
    return " and ".join(f"the time of {topic} has passed {at}" for topic, at in due.items())


def _other_records_of_the_action(case: Case) -> list[str]:
    """Other records that claimed to be this action."""
    lines = []
    for one in case.arrived:
        event = one.event
        if one.topic != AGENT_ACTIONS.name or one.became == "admitted" or event is None:
            continue
        if (event.action_id or event.event_id) == case.about.action_id:
            what = {"duplicate": "a copy", "waiting": "unread", "late": "late"}.get(one.became, "")
            if one.letter:
                what = f"dead letter {one.letter.id}, {shown(one.letter.reason)}"
            where = f"{one.topic}[{one.partition}]@{one.offset}"
            lines.append(f"Also came as {where}, {utc_s(one.broker_ms)}: {what}.")
    return lines


def story_as_json(case: Case) -> dict[str, Any]:
    """The story for a program."""
    about = case.about
    return {
        "action_id": about.action_id,
        "tenant_id": about.tenant_id,
        "conversation_id": about.conversation_id,
        "action_type": about.action_type,
        "agent_id": about.agent_id,
        "occurred_at": to_timestamp(about.created_at_ms),
        "predicted_confidence": about.predicted_confidence,
        "confidence_label": about.confidence_label,
        "confidence_source": about.confidence_source,
        "outcomes": [_chapter_as_json(case, chapter) for chapter in case.chapters],
    }


def _chapter_as_json(case: Case, chapter: Chapter) -> dict[str, Any]:
    outcome = chapter.outcome
    told: list[tuple[Arrived, Meaning]] = []
    if case.action is not None and chapter.held is not None:
        inside, outside = told_interactions(case, chapter)
        told = inside + outside
    return {
        "outcome_type": outcome.outcome_type,
        "status": outcome.status,
        "is_settled": outcome.is_settled,
        "decided_by": outcome.decided_by,
        "resolved_at": _stamp(outcome.resolved_at_ms),
        "known_at": _stamp(outcome.known_at_ms),
        "window_ends_at": to_timestamp(outcome.window_expires_at_ms),
        "settles_at": to_timestamp(outcome.settled_at_ms),
        "policy_version": outcome.policy_version,
        "rule": rule_in_words(chapter.rule) if chapter.rule else None,
        "calibrates": outcome.calibrates,
        "is_lead": outcome.is_lead,
        "score": outcome.score,
        "interactions": [
            {
                "topic": one.topic, "partition": one.partition, "offset": one.offset,
                "event_id": one.event.event_id if one.event is not None else None,
                "kind": one.event.kind if one.event is not None else None,
                "at": _stamp(one.at_ms), "arrived_at": to_timestamp(one.broker_ms),
                "became": one.became, "is_redriven": one.is_redriven,
                "means": list(meaning.means), "why": meaning.why,
                "by_rule": [signal_in_words(signal) for signal in meaning.signals],
                "decided": meaning.decided, "is_in_window": meaning.is_in_window,
            }
            for one, meaning in told
        ],
        "revisions": [
            {
                "revision": said.outcome.revision, "written_at": to_timestamp(said.written_ms),
                "status": said.outcome.status, "decided_by": said.outcome.decided_by,
                "is_settled": said.outcome.is_settled,
            }
            for said in chapter.revisions
        ],
    }  # fmt: skip


def _stamp(at_ms: int | None) -> str | None:
    return None if at_ms is None else to_timestamp(at_ms)


def nothing_lines(action_id: str, nearby: Nearby) -> list[str]:
    """No outcome has the id: where it was looked for, and what is like it."""
    lines = [
        f"There is no outcome of an action {shown(action_id)} in Postgres (tenant.outcome_records)."
    ]
    for entry in nearby.late[:5]:
        lines.append(
            f"In late-events it is: {entry.topic}[{entry.partition}]@{entry.offset} happened "
            f"{utc_s(entry.occurred_at_ms)}, when its topic was at {utc_s(entry.compared_ms)}; the "
            f"grace is {duration(entry.grace_ms)}."
        )
    for letter in nearby.letters[:5]:
        lines.append(
            f"In dead-letters it is: {letter.id}, {shown(letter.reason)}; "
            f"`trueup dead-letters show {letter.id}` tells why."
        )
    if not nearby.late and not nearby.letters:
        lines.append("Neither late-events nor dead-letters have it.")
    if nearby.decided:
        ids = ", ".join(map(shown, nearby.decided[:5]))
        lines.append(f"It is an interaction, and decided: {ids}.")
    elif nearby.near:
        lines.append(f"Near it: {', '.join(map(shown, nearby.near))}.")
    return lines


def which_lines(outcomes: list[Outcome]) -> list[str]:
    """The id stands in several conversations: which one is meant?"""
    seen = {(o.tenant_id, o.conversation_id): o for o in reversed(outcomes)}
    lines = [f"{len(seen)} conversations have an action {shown(outcomes[0].action_id)}:"]
    for (tenant_id, conversation), outcome in sorted(seen.items()):
        lines.append(
            f"  --tenant {tenant_id} --conversation {shown(conversation)}   "
            f"{shown(outcome.action_type)}, {utc_s(outcome.created_at_ms)}"
        )
    return [*lines, "Which one? Name it with --tenant and --conversation."]
