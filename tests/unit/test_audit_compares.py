"""Outcomes and bins that differ from the recomputed ones are named, wherever they are kept."""

import copy
import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from aiokafka import ConsumerRecord

from agents_topics.label_rates import LabelCounts, LabelRate
from agents_topics.policy_file import load_policy
from tests.ledger import ACTIONS, HOME, HOUR, INTERACTIONS, START, TENANT, body_of, key_of
from trueup.audit.bins import SUMS, bins_of, bins_of_changelog, bins_of_rows, compare_bins
from trueup.audit.comparing import (
    compare_changelog,
    compare_rows,
    compare_topic,
    outcomes_of_rows,
)
from trueup.audit.contract import Forget, read_event
from trueup.audit.days import compare_days
from trueup.audit.forgetting import Entry, Lives
from trueup.audit.label_rates import (
    compare_rates,
    rates_of,
    rates_of_changelog,
    rates_of_rows,
)
from trueup.audit.promotions import Expected
from trueup.audit.reading import Log
from trueup.audit.report import AuditReport
from trueup.audit.settling import settle

FACTS = ("status", "score", "signal_source", "decided_by", "is_lead", "policy_version",
         "confidence_label")  # fmt: skip
TIMES = ("created_at", "window_expires_at", "settled_at", "resolved_at")


def recomputed():
    """One positive and one expired outcome, and one that is open."""
    actions = [
        read_event(ACTIONS, key_of(HOME), body_of(name, at))
        for name, at in (("a1", START), ("a2", START + 30 * HOUR), ("a3", START + 90 * HOUR))
    ]
    reply = body_of("i1", START + HOUR, kind="reply_received")
    interactions = [read_event(INTERACTIONS, key_of(HOME), reply)]
    admitted = {0: {ACTIONS: actions, INTERACTIONS: interactions}}
    return settle(admitted, load_policy(None), {0: START + 60 * HOUR})


def fields_of(name):
    return {
        "tenant_id": TENANT,
        "conversation_id": HOME,
        "action_id": name[1],
        "outcome_type": name[2],
    }


def log_of(*values, key=b"k"):
    """A log of (key, value), or of values under one key."""
    pairs = [value if isinstance(value, tuple) else (key, value) for value in values]
    records = [
        ConsumerRecord("t", 0, offset, 0, 1, own_key, value, None, 0, 0, ())
        for offset, (own_key, value) in enumerate(pairs)
    ]
    return {0: Log(records, len(records))}


def events_of(settled):
    return [
        {
            **fields_of(name),
            "is_settled": True,
            **{fact: outcome[fact] for fact in FACTS},
            **{f"{fact}_ms": outcome[fact] for fact in TIMES},
        }
        for name, outcome in settled.items()
    ]


def rows_of(settled):
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return [
        {
            **fields_of(name),
            **{fact: outcome[fact] for fact in FACTS},
            "outcome_status": outcome["status"],
            "outcome_score": outcome["score"],
            "lineage": 0,
            **{fact: epoch + timedelta(milliseconds=outcome[fact]) for fact in TIMES},
        }
        for name, outcome in settled.items()
    ]


def in_topic(events, settled, forgotten=()):
    report, lives = AuditReport(), Lives(forgotten)
    log = log_of(*(json.dumps(event).encode() for event in events))
    compare_topic(log, settled, lives, report)
    return report.differences


def in_postgres(rows, settled):
    report = AuditReport()
    compare_rows(outcomes_of_rows(rows), Expected(dict(settled)), report)
    return report.differences


def test_what_is_settled_is_the_law():
    settled, open_names = recomputed()

    assert [(name[1], outcome["status"]) for name, outcome in settled.items()] == [
        ("a1", "positive"),
        ("a2", "expired"),
    ]
    assert [name[1] for name in open_names] == ["a3"]
    assert in_topic(events_of(settled), settled) == []
    assert in_postgres(rows_of(settled), settled) == []


def test_what_came_before_a_forgetting_is_not_compared_and_its_readers_must_be_told():
    settled, _ = recomputed()
    entry = Entry(0, Forget("f", TENANT, HOME), {ACTIONS: 3, INTERACTIONS: 1}, START)
    told = {"forget_id": "f", "tenant_id": TENANT, "conversation_id": HOME}
    events = events_of(settled)

    assert in_topic([*events, told], {}, [entry]) == []
    assert in_topic([*events, told, *events], settled, [entry]) == []
    assert [found.found for found in in_topic([told, *events], {}, [entry])] == ["settled"] * 2
    (untold, *_) = in_topic(events, settled, [entry])
    assert (untold.what, untold.found) == ("forgetting f", "nothing")
    (strange,) = in_topic([*events, told], settled)
    assert strange.what == "forgetting f"


@pytest.mark.parametrize("fact", [*FACTS, *(f"{fact}_ms" for fact in TIMES)])
def test_any_fact_that_the_topic_has_otherwise_is_named(fact):
    settled, _ = recomputed()
    events = events_of(settled)
    events[0][fact] = "other"

    (found,) = in_topic(events, settled)

    assert "a1" in found.what
    assert fact.removesuffix("_ms") in found.what


@pytest.mark.parametrize("fact", ["outcome_status", "outcome_score", *FACTS[2:], *TIMES])
def test_any_fact_that_postgres_has_otherwise_is_named(fact):
    settled, _ = recomputed()
    rows = rows_of(settled)
    rows[1][fact] = rows[1][fact] + timedelta(seconds=1) if fact in TIMES else "other"

    (found,) = in_postgres(rows, settled)

    assert "a2" in found.what
    assert fact.removeprefix("outcome_") in found.what


def test_an_outcome_that_is_missing_or_too_many_or_there_twice_is_named():
    settled, _ = recomputed()
    events, rows = events_of(settled), rows_of(settled)
    stranger = {**events[0], "action_id": "a3"}

    assert [found.found for found in in_topic(events[1:], settled)] == ["nothing"]
    assert [found.found for found in in_postgres(rows[1:], settled)] == ["nothing"]
    assert [found.found for found in in_topic([*events, stranger], settled)] == ["settled"]
    assert [found.found for found in in_topic([*events, events[0]], settled)] == ["twice"]


@pytest.mark.parametrize(
    ("held", "found"),
    [([("a3", False)], []), ([], ["nothing"]), ([("a3", True)], ["nothing"]),
     ([("a3", False), ("a1", False)], ["open"]), ([("a3", False), ("a1", True)], [])],
)  # fmt: skip
def test_what_the_state_holds_open_is_what_is_open(held, found):
    _, open_names = recomputed()
    rows = [
        (f"a/{name}".encode(), msgspec.msgpack.encode(
            [key_of(HOME).decode(), name, "…", [["email_engagement", 1, is_settled, None]]]))
        for name, is_settled in held
    ]  # fmt: skip
    report = AuditReport()

    compare_changelog(log_of(*rows, (b"a/gone", None), (b"p", b"")), open_names, report)

    assert [difference.found for difference in report.differences] == found


def test_a_sum_of_a_bin_that_differs_is_named_wherever_it_is():
    settled, _ = recomputed()
    bins = bins_of(settled.values())
    (stream,) = {key[0] for key in bins}
    names = ("n", "sp", "spp", "sy", "spy", "excluded_n", "excluded_sp", "excluded_spp")
    columns = ("tenant_id", "action_type", "outcome_type", "window_ms", "confidence_source")
    rows = [
        dict(zip(columns, stream, strict=True))
        | {"bin_index": index, "record_set": record_set}
        | dict(zip(names, map(str, sums), strict=True))
        for (_, index, record_set), sums in bins.items()
    ]
    changelog = [[list(stream), 5, bins[stream, 5, "all"], bins[stream, 5, "lead"]]]

    def differences(found):
        report = AuditReport()
        compare_bins(found, bins, "there", report)
        return len(report.differences)

    def kept(row):
        return bins_of_changelog(log_of(msgspec.msgpack.encode(row), key=b"b/5"))

    assert bins[stream, 5, "all"] == [2, 1_000_000, 500_000_000_000, 1, 500_000, 0, 0, 0]
    assert differences(bins_of_rows(rows)) == differences(kept(changelog[0])) == 0
    for index, name in enumerate(names):
        other_rows, other_log = copy.deepcopy(rows), copy.deepcopy(changelog)
        other_rows[0][name] = "77"
        other_log[0][2][index] = 77
        assert differences(bins_of_rows(other_rows)) == 1
        assert differences(kept(other_log[0])) == 1
    assert differences(bins_of_rows(rows[1:])) == 1


def day_row(outcomes, done, known, *, sign=1, **held):
    """What a row of a day says, of some outcomes in bin 5."""
    (stream,) = {outcome["stream"] for outcome in outcomes}
    columns = ("tenant_id", "action_type", "outcome_type", "window_ms", "confidence_source")
    sums = bins_of(outcomes)[stream, 5, "all"]
    return {
        **dict(zip(columns, stream, strict=True)),
        **dict(zip(SUMS, (str(sign * one) for one in sums), strict=True)),
        "bin_index": 5, "record_set": "all", "action_day": done, "known_day": known,
        "holds_earlier": False, **held,
    }  # fmt: skip


def test_a_day_that_differs_is_named_and_those_that_are_not_kept_are_held_to_their_sums():
    settled, _ = recomputed()
    one, other = (outcome | {"is_lead": False} for outcome in settled.values())
    (first, known), (last, known_last) = (
        (o["created_at"] // (24 * HOUR), o["settled_at"] // (24 * HOUR)) for o in (one, other)
    )
    assert known_last > known

    def differences(*rows, begun=()):
        report = AuditReport()
        compare_days(rows, begun, [one, other], report)
        return [difference.what for difference in report.differences]

    kept = [day_row([one], first, known), day_row([other], last, known_last)]
    summed = day_row([one], first, known, holds_earlier=True)
    taken_off = day_row([one], first, known, sign=-1)
    both = day_row([one, other], last, known_last, holds_earlier=True)

    assert differences(*kept) == differences(summed, kept[1]) == differences(both) == []
    assert differences(*kept, kept[0], taken_off) == differences(both, summed, taken_off) == []
    assert [f"days {first} and {known}" in what for what in differences(kept[1])] == [True]
    assert len(differences(*kept, day_row([one], first, known + 9))) == 1
    assert len(differences(kept[0], kept[1] | {"spy": "9"})) == 1
    assert ["not kept" in w for w in differences(summed | {"n": "7"}, kept[1])] == [True]
    assert ["not kept" in w for w in differences(both, kept[0])] == [True]
    assert differences(begun=kept[:1]) == []


def test_a_count_of_a_label_that_differs_is_named_wherever_it_is():
    stream = (TENANT, "send_email", "email_engagement", 24 * HOUR, "judge")
    outcome = {"calibrates": True, "confidence": None, "confidence_label": "high"}
    outcome |= {"stream": stream, "expired_counts": False}
    rates = rates_of(
        outcome | {"status": status, "is_lead": is_lead}
        for status, is_lead in (("positive", True), ("expired", False), ("ambiguous", False))
    )
    columns = ("tenant_id", "action_type", "outcome_type", "window_ms", "confidence_source")
    named = dict(zip(columns, stream, strict=True)) | {"confidence_label": "high"}
    counts = {"positive_count": 1, "negative_count": 0, "expired_count": 0, "ambiguous_count": 0}
    lead = named | counts | {"record_set": "lead", "n": 1, "actual_rate": 1.0}
    every = lead | {"record_set": "all", "expired_count": 1, "ambiguous_count": 1}
    row = LabelRate(
        **named,
        all=LabelCounts(n=1, positive=1, ambiguous=1, expired=1),
        lead=LabelCounts(n=1, positive=1),
        last_settled_at_ms=START,
    )

    def differences(found):
        report = AuditReport()
        compare_rates(found, rates, "there", report)
        return len(report.differences)

    def kept(row):
        return rates_of_changelog(log_of(msgspec.msgpack.encode(row), key=b"r/1"))

    assert differences(rates_of_rows([every, lead])) == differences(kept(row)) == 0
    for name in ("n", *counts):
        assert differences(rates_of_rows([every | {name: 77}, lead])) == 1
        other = copy.deepcopy(row)
        setattr(other.lead, name.removesuffix("_count"), 77)
        assert differences(kept(other)) == 1
    assert differences(rates_of_rows([every | {"actual_rate": 0.5}, lead])) == 1
    assert differences(rates_of_rows([every])) == 1
    assert differences({}) == 2


def test_a_number_enters_a_bin_and_a_label_alone_does_not():
    outcome = {"calibrates": True, "status": "positive", "is_lead": False, "expired_counts": True}
    outcome |= {"stream": ("t",), "confidence_label": "high"}
    told = [outcome | {"confidence": 0.5}, outcome | {"confidence": None}]

    assert set(bins_of(told)) == {(("t",), 5, "all")}
    assert dict(rates_of(told)) == {(("t",), "high", "all"): {"positive": 1, "n": 1}}
