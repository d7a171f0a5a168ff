"""The worker's Prometheus page: what it shows, what PromQL can compute from it, and its bounds."""

import json
import random
import re
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from sinks.prometheus import metrics
from sinks.prometheus.collector import ACTION_TYPES_MAX, TENANTS_MAX, render

DASHBOARD = Path(__file__).parents[2] / "docker" / "grafana" / "dashboards" / "trueup.json"
UNIT = 1_000_000


def bin_row(action_type, index, records, tenant="t"):
    """A bin of (confidence in millionths, outcome) pairs as the status page has it."""
    return {
        "tenant_id": tenant,
        "action_type": action_type,
        "bin": index,
        "n": len(records),
        "sp": sum(p for p, _ in records),
        "spp": sum(p * p for p, _ in records),
        "sy": sum(y for _, y in records),
        "spy": sum(p * y for p, y in records),
    }


def snapshot(bins=(), counts=None, delays=None):
    task = {
        "partition": 3,
        "state": "running",
        "reopened": 0,
        "queued": {},
        "lag": {},
        "applied_until_ms": 1_000,
    }
    return {
        "partitions": 4,
        "restores": [{"agent": "calibrator", "partition": 3, "count": 2}],
        "transactions": {"committed": 5, "unknown": 1},
        "tasks": [
            {
                **task,
                "agent": "outcome-resolver",
                "open": 7,
                "counts": counts or {},
                "settled_until_ms": 1_000,
                "grace_ms": 3_600_000,
                "label_delays": delays or {},
                "lag": {"agent-actions": 9},
            },
            {
                **task,
                "agent": "calibrator",
                "state": "opening",
                "bins": list(bins),
            },
            {**task, "agent": "publisher"},
        ],
    }


def samples(page):
    """By sample name: labels -> value."""
    found = defaultdict(dict)
    for family in text_string_to_metric_families(page.decode()):
        assert family.documentation, family.name
        for sample in family.samples:
            found[sample.name][tuple(sorted(sample.labels.items()))] = sample.value
    return found


def by_type(found, name):
    sums = defaultdict(float)
    for labels, value in found[name].items():
        sums[dict(labels)["action_type"]] += value
    return sums


def test_brier_and_ece_follow_from_the_sums():
    random.seed(5)
    bins, brier, gaps, count = [], 0.0, 0.0, 0
    for index in range(10):
        records = [
            (random.randrange(index * 100_000, (index + 1) * 100_000), random.randrange(2))
            for _ in range(random.randrange(1, 50))
        ]
        bins.append(bin_row("send_email", index, records))
        brier += sum((p / UNIT - y) ** 2 for p, y in records)
        gaps += abs(sum(p / UNIT - y for p, y in records))
        count += len(records)
    found = samples(render(snapshot(bins)))

    n = by_type(found, "trueup_calibration_bin_records")["send_email"]
    squares = by_type(found, "trueup_calibration_bin_confidence_squares_sum")["send_email"]
    cross = by_type(found, "trueup_calibration_bin_positive_confidence_sum")["send_email"]
    positives = by_type(found, "trueup_calibration_bin_positives")["send_email"]
    confidence, right = (
        found[f"trueup_calibration_bin_{name}"] for name in ("confidence_sum", "positives")
    )
    assert n == count
    assert (squares - 2 * cross + positives) / n == pytest.approx(brier / count)
    assert sum(abs(right[at] - confidence[at]) for at in right) / n == pytest.approx(gaps / count)


def test_every_kind_of_record_and_outcome_is_shown():
    counts = {
        "agent-actions/admitted": 10,
        "agent-interactions/duplicate": 2,
        "agent-interactions/late": 3,
        "agent-actions/dead": 4,
        "settled/expired": 5,
        "interactions/unmatched": 6,
    }
    found = samples(render(snapshot(counts=counts)))

    def value(name, **labels):
        return found[name][tuple(sorted({"partition": "3", **labels}.items()))]

    assert value("trueup_records_total", topic="agent-interactions", result="duplicate") == 2
    assert value("trueup_records_total", topic="agent-interactions", result="late") == 3
    assert value("trueup_records_total", topic="agent-actions", result="dead") == 4
    assert value("trueup_outcomes_total", status="expired") == 5
    assert value("trueup_unmatched_interactions_total") == 6
    assert value("trueup_open_outcomes") == 7
    assert value("trueup_watermark_lag_seconds") > 1e9
    assert (
        value("trueup_consumer_lag_records", agent="outcome-resolver", topic="agent-actions") == 9
    )
    assert value("trueup_task_ready", agent="outcome-resolver") == 1
    assert value("trueup_task_ready", agent="calibrator") == 0
    assert found["trueup_transactions_total"][("result", "unknown"),] == 1


def test_what_a_running_task_may_count_begins_at_nought():
    found = samples(render(snapshot(counts={"agent-actions/admitted": 10})))

    records = {
        (dict(at)["topic"], dict(at)["result"]): value
        for at, value in found["trueup_records_total"].items()
    }
    assert records.pop(("agent-actions", "admitted")) == 10
    assert records["agent-interactions", "dead"] == 0
    assert records["control", "dead"] == 0
    assert not any(records.values())
    assert found["trueup_transactions_total"][("result", "unknown"),] == 1


def test_what_a_task_has_counted_is_unknown_while_it_restores():
    """0 would be a counter that goes back, and all that comes again an increase."""
    restoring = snapshot()
    restoring["tasks"][0]["state"] = "opening"

    assert not samples(render(restoring))["trueup_records_total"]


def test_action_types_beyond_the_cap_are_summed_under_other():
    names = [f"type-{number:03d}" for number in range(ACTION_TYPES_MAX + 30)]
    delays = {n: {"bounds_s": (1, 2), "counts": [1, 2, 3], "sum_ms": 4} for n in names}
    bins = [bin_row(name, 0, [(1, 1)]) for name in names]
    found = samples(render(snapshot(bins, delays=delays)))

    records = by_type(found, "trueup_calibration_bin_records")
    assert len(records) == ACTION_TYPES_MAX + 1
    assert records["other"] == 30
    assert by_type(found, "trueup_label_delay_seconds_count")["other"] == 30 * 6


def test_tenants_beyond_the_cap_are_summed_under_other():
    names = [f"tenant-{number:03d}" for number in range(TENANTS_MAX + 7)]
    bins = [bin_row("send_email", 0, [(1, 1)], name) for name in names]
    found = samples(render(snapshot(bins)))["trueup_calibration_bin_records"]

    of_tenant = {dict(labels)["tenant"]: value for labels, value in found.items()}
    assert len(of_tenant) == TENANTS_MAX + 1
    assert of_tenant["other"] == 7


def test_streams_are_told_by_action_type_over_all_tenants():
    streams = [
        {
            "action_type": name,
            "log_evidence_nanos": e,
            "is_alarm": e > 3e9,
            "threshold": t,
            "trends": {"success_rate": success, "calibration_gap": gap},
        }
        for name, e, t, success, gap in (
            ("send_email", 4_000_000_000, 800_000, "declining", "improving"),
            ("send_email", -1_000_000_000, 700_000, "declining", "stable"),
            ("qualify", 0, 650_000, "stable", "stable"),
        )
    ]
    told = snapshot()
    told["tasks"][1]["streams"] = streams
    found = samples(render(told))

    assert by_type(found, "trueup_calibration_log_evidence") == {"send_email": 4, "qualify": 0}
    assert by_type(found, "trueup_calibration_alarm") == {"send_email": 1, "qualify": 0}
    assert by_type(found, "trueup_threshold") == {"send_email": 0.75, "qualify": 0.65}
    trends = {
        tuple(dict(labels)[name] for name in ("action_type", "metric", "direction")): count
        for labels, count in found["trueup_supported_trends"].items()
    }
    assert {at: count for at, count in trends.items() if count} == {
        ("send_email", "success_rate", "declining"): 2,
        ("send_email", "calibration_gap", "improving"): 1,
    }
    assert len(trends) == 2 * 2 * 2


def test_the_dashboard_asks_for_metrics_that_exist():
    known = {
        metric.name + ("_total" if metric.kind == "counter" else "")
        for metric in vars(metrics).values()
        if isinstance(metric, metrics.Metric)
    }
    panels = json.loads(DASHBOARD.read_text())["panels"]
    named = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"trueup_\w+", target.get("expr", ""))
    }

    assert named
    assert named <= known


def test_the_dashboard_shows_only_scores_that_are_recorded():
    groups = yaml.safe_load((DASHBOARD.parents[2] / "scores.yml").read_text())["groups"]
    recorded = {rule["record"] for group in groups for rule in group["rules"]}
    named = set(re.findall(r"trueup:\w+", DASHBOARD.read_text()))

    assert named
    assert named <= recorded
