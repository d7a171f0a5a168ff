"""What promotions have made of the live outcomes, recomputed by the rules each was judged by.

A promoted shadow says what it covers, up to when it had settled, and its policy. As recorded, late
and refused records stay late and refused; its outcomes are settled here anew from the topics. Where
both had settled an outcome the shadow's is the truth, what it has not admitted is gone, and what
live held open stays live's. What was judged otherwise cannot be recomputed and is held to nothing.

A conversation that was forgotten after a promotion has no rows; what the promotion has made of its
outcomes stays in the sums, as what had settled does. Of a tenant nothing stays. A promotion says
where the publisher stood, so that the topic `outcomes` tells what was forgotten after it.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents_topics.policy import Policy
from trueup.audit.bins import SUMS, bins_of
from trueup.audit.forgetting import is_over, number_of
from trueup.audit.settling import Name
from trueup.audit.telling import Place, Told

PROMOTED_SQL = """
    SELECT name, lineage, (extract(epoch FROM as_of) * 1000)::bigint AS as_of_ms, about
    FROM tenant.shadows WHERE state = 'promoted' ORDER BY lineage
"""
CORRECTION_SQL = f"""
    SELECT tenant_id::text, action_type, outcome_type, window_ms, confidence_source, bin_index,
           record_set, {", ".join(f"{name}::text" for name in SUMS)}
    FROM tenant.calibration_corrections
"""

Outcomes = dict[Name, dict[str, Any]]
Settle = Callable[[Policy, int], tuple[Outcomes, set[Name]]]
"""Settles what was admitted, by another policy and up to a time: settled ones, and open names."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """A promoted shadow.

    Args:
        stood_at: The publisher's next offsets by topic-partition; None of an earlier release.
        policy: None where its outcomes cannot be recomputed.
    """

    name: str
    lineage: int
    as_of_ms: int
    tenants: frozenset[str] | None
    since_ms: int | None
    until_ms: int | None
    stood_at: Mapping[str, int] | None
    policy: Policy | None

    def came_after(self, place: Place) -> bool:
        """Whether the publisher had written what stands at a place."""
        topic, offset = place
        return self.stood_at is None or offset < self.stood_at.get(topic, 0)

    def covers(self, name: Name, outcome: Mapping[str, Any]) -> bool:
        """Whether it speaks of an outcome."""
        tenant_id, at_ms = name[0].partition("/")[0], outcome["created_at"]
        return (
            (self.tenants is None or tenant_id in self.tenants)
            and (self.since_ms is None or at_ms >= self.since_ms)
            and (self.until_ms is None or at_ms < self.until_ms)
        )


@dataclass(slots=True)
class Expected:
    """What Postgres must have.

    Args:
        settled: By name, whatever its lineage.
        went: What promotions have taken out of bins.
        came: What they have put in.
        unheld: Names that are held to nothing, and why.
        promoted: Names of which the outcome is a promotion's.
    """

    settled: Outcomes
    went: list[dict[str, Any]] = field(default_factory=list)
    came: list[dict[str, Any]] = field(default_factory=list)
    unheld: dict[Name, str] = field(default_factory=dict)
    promoted: set[Name] = field(default_factory=set)

    def corrections(self) -> dict[Any, list[int]]:
        """By how much bins differ from what the calibrator counts."""
        sums = bins_of(self.came)
        for key, row in bins_of(self.went).items():
            held = sums.get(key, [0] * len(SUMS))
            sums[key] = [a - b for a, b in zip(held, row, strict=True)]
        return sums


def promotions_of(
    rows: Iterable[Mapping[str, Any]], read_policy: Callable[[str], Policy]
) -> list[Promotion]:
    """The promoted shadows, in the order of their promotion."""
    return [_promotion_of(row, json.loads(row["about"]), read_policy) for row in rows]


def _promotion_of(
    row: Mapping[str, Any], about: Mapping[str, Any], read_policy: Callable[[str], Policy]
) -> Promotion:
    is_recorded = about["judging"] == "recorded" and not about["topics"]
    text = about.get("policy_toml") if is_recorded else None
    tenants = about["tenants"]
    return Promotion(
        name=row["name"],
        lineage=row["lineage"],
        as_of_ms=row["as_of_ms"],
        tenants=None if tenants is None else frozenset(tenants),
        since_ms=about["since_ms"],
        until_ms=about["until_ms"],
        stood_at=about.get("stood_at"),
        policy=None if text is None else read_policy(text),
    )


def after_promotions(
    live: tuple[Outcomes, set[Name]],
    promotions: Sequence[Promotion],
    lineages: Mapping[Name, int],
    told: Told,
    settle: Settle,
) -> Expected:
    """What Postgres must have after all of them; `lineages` are those of its rows, and `live` has
    lives that are over too.
    """
    settled, open_names = live
    expected = Expected(dict(settled))
    for promotion in promotions:
        if promotion.policy is None:
            _leave_out(expected, promotion, lineages)
        else:
            shadow = settle(promotion.policy, promotion.as_of_ms)
            _exchange(expected, promotion, shadow, open_names, lineages, told)
    expected.settled = {n: one for n, one in expected.settled.items() if not is_over(n[0])}
    known = {promotion.lineage for promotion in promotions}
    for name, lineage in lineages.items():
        if lineage and lineage not in known:
            expected.unheld[name] = f"lineage {lineage}, whose shadow was dropped"
    return expected


def _exchange(
    expected: Expected,
    promotion: Promotion,
    shadow: tuple[Outcomes, set[Name]],
    live_open: set[Name],
    lineages: Mapping[Name, int],
    told: Told,
) -> None:
    comes, open_names = shadow
    went: Outcomes = {}
    came: Outcomes = {}
    for name, outcome in expected.settled.items():
        if not promotion.covers(name, outcome) or not _was_there(promotion, name, told):
            continue
        was_settled = _was_settled(expected, promotion, name, told)
        if name in comes:
            gives_way = was_settled or lineages.get(name) == promotion.lineage
        else:
            gives_way = was_settled and name not in open_names
        if gives_way:
            went[name] = outcome
    for name in went:
        del expected.settled[name]
    for name, outcome in comes.items():
        is_new = name not in expected.settled.keys() | live_open
        if is_new and promotion.covers(name, outcome) and _was_there(promotion, name, told):
            came[name] = outcome
    expected.settled |= came
    expected.promoted |= came.keys()
    forgotten = {tenant for tenant, place in told.tenants if not promotion.came_after(place)}
    expected.went += _not_of(forgotten, went)
    expected.came += _not_of(forgotten, came)


def _not_of(tenants: set[str], outcomes: Outcomes) -> list[dict[str, Any]]:
    return [o for name, o in outcomes.items() if name[0].partition("/")[0] not in tenants]


def _was_there(promotion: Promotion, name: Name, told: Told) -> bool:
    """Whether the life of an outcome had not ended in Postgres when the shadow was promoted."""
    if not is_over(name[0]):
        return True
    place = told.lives.get(number_of(name[0]))
    return place is not None and not promotion.came_after(place)


def _was_settled(expected: Expected, promotion: Promotion, name: Name, told: Told) -> bool:
    """Whether Postgres had an outcome as settled by a promotion. Of those that have a row this is
    sure only up to the shadow's as-of; beyond it the row's lineage tells.
    """
    if not is_over(name[0]):
        return bool(expected.settled[name]["settled_at"] <= promotion.as_of_ms)
    place = told.settled.get(name)
    return name in expected.promoted or (place is not None and promotion.came_after(place))


def _leave_out(expected: Expected, promotion: Promotion, lineages: Mapping[Name, int]) -> None:
    """What such a promotion has put there, or may have taken away, is held to nothing."""
    told = f"{promotion.name}, which was not judged as recorded"
    for name, lineage in lineages.items():
        if lineage == promotion.lineage:
            expected.unheld[name] = told
    for name, outcome in expected.settled.items():
        is_gone = name not in lineages and outcome["settled_at"] <= promotion.as_of_ms
        if is_gone and not is_over(name[0]) and promotion.covers(name, outcome):
            expected.unheld[name] = told
