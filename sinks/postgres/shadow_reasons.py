"""Why an outcome's live row and a shadow's differ: from the two rows, and the rules of both.

First what the rows were judged by: other windows, other settle times, another rule of the outcome.
Where nothing of that can have made another result, other events were admitted. Then what counts
otherwise though the result is the same.

Which kind of interaction decided is in no row: told is what by its rule can have. If the same
events were admitted, and neither rule leaves a signal to a later action, it is known better: what
decides first decides in the other as well, unless its signal is not there.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents_topics.policy import HOUR_MS, OutcomeRule, PolicyVersion, Signal, version_of
from agents_topics.rules import HUMAN_LABEL

_OPPOSITES = "opposite signals at one time"
_LEADS = {True: "leads", False: "does not lead", None: "not known"}


@dataclass(frozen=True, slots=True)
class Side:
    """What one of the rows says; `is_settled`: by the as-of.

    `is_first`: its deciding event lies in the other's window, not after what decided there; where
    both are, they decided otherwise at the same millisecond.
    """

    policy_version: str
    is_settled: bool
    status: str
    signal_source: str | None
    is_first: bool
    window_ms: int
    settle_ms: int
    confidence_source: str
    calibrates: bool
    expired_counts: bool
    is_lead: bool | None
    bin_index: int | None

    @property
    def is_labelled(self) -> bool:
        """Whether a person's label decided."""
        return self.signal_source == HUMAN_LABEL


@dataclass(frozen=True, slots=True)
class Pair:
    """The live row of an outcome and the shadow's; None where there is no such row."""

    tenant_id: str
    action_type: str
    outcome_type: str
    is_other_result: bool
    live: Side | None
    shadow: Side | None


@dataclass(frozen=True, slots=True)
class Decided:
    """What decided in one of the two, by which version of the policy."""

    policy_version: str | None
    said: str


@dataclass(frozen=True, slots=True)
class Rules:
    """The versions of both policies by digest, and whether both have judged the same events."""

    versions: Mapping[str, PolicyVersion]
    live: frozenset[str]
    shadow: frozenset[str]
    is_same_input: bool

    def rule_of(self, pair: Pair, side: Side | None) -> OutcomeRule | None:
        """The rule that a row was judged by, where it is known."""
        if side is None or side.policy_version not in self.versions:
            return None
        return self._rule(pair, side.policy_version)

    def has_rule(self, pair: Pair, digests: frozenset[str]) -> bool:
        """Whether one of these versions has the outcome; also where they are not all known."""
        are_known = digests and digests <= self.versions.keys()
        return not are_known or any(self._rule(pair, digest) for digest in digests)

    def _rule(self, pair: Pair, digest: str) -> OutcomeRule | None:
        of = (pair.tenant_id, pair.action_type, pair.outcome_type)
        return next(iter(self.versions[digest].rules_of(*of)), None)

    def kinds_of(self, side: Side) -> frozenset[str]:
        """What `*` stands for."""
        version = self.versions.get(side.policy_version)
        return version.kinds if version else frozenset()


def rules_of(about: Mapping[str, Any]) -> Rules:
    """What a shadow keeps of the rules that live and it were judged by."""
    read = {digest: version_of(content) for digest, content in about.get("rules", {}).items()}
    return Rules(
        {digest: version for digest, version in read.items() if version},
        frozenset(about.get("live_policy", ())),
        frozenset(about.get("policy", ())),
        about.get("judging") == "recorded" and not about.get("topics"),
    )


def told_of(pair: Pair, rules: Rules) -> tuple[str, Decided, Decided]:
    """Why the two differ, and what decided in live and in the shadow."""
    live, shadow = pair.live, pair.shadow
    both = rules.rule_of(pair, live), rules.rule_of(pair, shadow)
    only_live = _only(rules, (live, shadow), both)
    only_shadow = _only(rules, (shadow, live), both[::-1])
    reasons = _reasons(pair, rules, both, [*only_live, *only_shadow])
    return (
        "; ".join(reasons),
        _decided(rules, live, both[0], only_live),
        _decided(rules, shadow, both[1], only_shadow),
    )


Both = tuple[OutcomeRule | None, OutcomeRule | None]


def _only(rules: Rules, sides: tuple[Side | None, Side | None], both: Both) -> list[Signal]:
    """The signals of the first rule alone one of which must have decided; none if that is not sure.

    Not where the other side is ambiguous at that millisecond: the same signal may be half of it.
    """
    (own, other), (rule, other_rule) = sides, both
    if not (rules.is_same_input and own and other and rule and other_rule):
        return []
    is_sure = (
        own.is_first
        and own.status in ("positive", "negative")
        and not (other.is_first and other.status == "ambiguous")
        and not (own.is_labelled or other.is_labelled)
        and rule.attribution == other_rule.attribution != "last"
    )
    alone = [s for s in rule.signals if s.means == own.status and s not in other_rule.signals]
    return alone if is_sure else []


def _decided(
    rules: Rules, side: Side | None, rule: OutcomeRule | None, only: Sequence[Signal]
) -> Decided:
    if side is None:
        return Decided(None, "no outcome")
    if not side.is_settled:
        said = "still open"
    elif side.status == "expired":
        said = side.status
    elif side.is_labelled:
        said = f"{side.status} by a person's label"
    else:
        meant = [s for s in rule.signals if s.means == side.status] if rule else []
        named = list(_kinds(only or meant, [rules.kinds_of(side)]))
        if side.status == "ambiguous":
            named.append(_OPPOSITES)
        said = f"{side.status} by {' or '.join(named) or 'a signal'}"
    return Decided(side.policy_version, said)


def _reasons(pair: Pair, rules: Rules, both: Both, only: Sequence[Signal]) -> list[str]:
    live, shadow = pair.live, pair.shadow
    if shadow is None:
        if not rules.has_rule(pair, rules.shadow):
            return ["rule: the shadow's policy has no such outcome"]
        return ["admission: the action is not in the shadow"]
    if live is None:
        if not rules.has_rule(pair, rules.live):
            return ["rule: live's policy has no such outcome"]
        return ["admission: the action is not among the live ones"]
    told = list(_times(live, shadow))
    if not (live.is_settled and shadow.is_settled):
        return told or [f"window: still open in {'the shadow' if live.is_settled else 'live'}"]
    if pair.is_other_result:
        told += _law(rules, live, shadow, both, only)
        if not told:
            told.append(_unlike(live, shadow, both))
        elif not rules.is_same_input:
            told.append("admission: other interactions may have been admitted")
    told += _counting(live, shadow)
    return told or [_versus("lead:", _LEADS[live.is_lead], _LEADS[shadow.is_lead])]


def _times(live: Side, shadow: Side) -> Iterator[str]:
    if live.window_ms != shadow.window_ms:
        yield _versus("window:", _hours(live.window_ms), _hours(shadow.window_ms))
    is_longer = any(side.settle_ms != side.window_ms for side in (live, shadow))
    if live.settle_ms != shadow.settle_ms and is_longer:
        yield _versus(
            "label window: settled after", _hours(live.settle_ms), _hours(shadow.settle_ms)
        )


def _law(
    rules: Rules, live: Side, shadow: Side, both: Both, only: Sequence[Signal]
) -> Iterator[str]:
    """What the rules of the outcome say otherwise; a person's label asks neither."""
    old, new = both
    if old is None or new is None or live.is_labelled or shadow.is_labelled:
        return
    changed: dict[tuple[str, str, str], list[Signal]] = {}
    for signal in dict.fromkeys(_bare(s) for s in (*old.signals, *new.signals)):
        before, after = _means(signal, old), _means(signal, new)
        is_told = not only or signal in map(_bare, only)
        if before != after and is_told:
            changed.setdefault((signal.when, before, after), []).append(signal)
    every_kind = [rules.kinds_of(live), rules.kinds_of(shadow)]
    for (_, before, after), signals in changed.items():
        yield _versus(f"signals: {' or '.join(_kinds(signals, every_kind))} means", before, after)
    if old.attribution != new.attribution:
        yield _versus("attribution:", old.attribution, new.attribution)
    if old.score != new.score:
        yield _versus("score:", old.score, new.score)


def _unlike(live: Side, shadow: Side, both: Both) -> str:
    """Another result where windows and what is known of the rules are alike."""
    if live.policy_version != shadow.policy_version:
        old, new = both
        if old is None or new is None:
            return "signals: by another policy; its rules are not known"
        if old.attribution == "last" and not (live.is_labelled or shadow.is_labelled):
            return "attribution: a later action of another rule takes the signal in one of them"
    return "admission: other interactions were admitted"


def _counting(live: Side, shadow: Side) -> Iterator[str]:
    if live.confidence_source != shadow.confidence_source:
        yield _versus("confidence source:", live.confidence_source, shadow.confidence_source)
    if live.calibrates != shadow.calibrates:
        told = {True: "counts", False: "does not count"}
        yield _versus("calibration:", told[live.calibrates], told[shadow.calibrates])
    if live.expired_counts != shadow.expired_counts:
        told = {True: "counts as no success", False: "is left out"}
        yield _versus(
            "calibration: expired", told[live.expired_counts], told[shadow.expired_counts]
        )


def _bare(signal: Signal) -> Signal:
    """One for all signals of a kind that compare so."""
    return Signal(kind=signal.kind, when=signal.when, means="ambiguous")


def _means(signal: Signal, rule: OutcomeRule) -> str:
    means = {s.means for s in rule.signals_of(signal.kind) if s.when == signal.when}
    return " and ".join(sorted(means)) or "nothing"


def _kinds(signals: Iterable[Signal], every_kind: Sequence[frozenset[str]]) -> Iterator[str]:
    """The kinds as a policy file names them, for each way of comparing."""
    by_when: dict[str, list[str]] = {}
    for signal in signals:
        by_when.setdefault(signal.when, []).append(signal.kind)
    for when, kinds in by_when.items():
        is_any = len(kinds) > 1 and set(kinds) in every_kind
        named = "any kind" if is_any else " or ".join(dict.fromkeys(kinds))
        yield named if when == "always" else f"{named} ({when})"


def _versus(what: str, live: str, shadow: str) -> str:
    return f"{what} {live} in live, {shadow} in the shadow"


def _hours(ms: int) -> str:
    return f"{ms / HOUR_MS:g} h"
