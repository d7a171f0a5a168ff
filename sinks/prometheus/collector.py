"""Renders a worker's snapshot as a Prometheus page, on scrape.

Counters come from the tasks' own exact state, so they survive restarts; they carry the partition,
because a partition's counts move with it to another worker. What a running task may count begins
at 0, for PromQL sees no increase in a series that comes into being. Action types and tenants are
capped: what is past the cap is summed under `other`.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from agents_topics.roster import RESOLVER
from sinks.prometheus import metrics

ACTION_TYPES_MAX = 50
TENANTS_MAX = 20
UNIT = 1_000_000
NANO = 10**9
RESULTS = ("admitted", "ignored", "duplicate", "late", "dead")
SUPPORTED_DIRECTIONS = ("improving", "declining")
NOT_COUNTED = {f"{topic.name}/{result}": 0 for topic in RESOLVER.reads for result in RESULTS}

Snapshot = Mapping[str, Any]


def render(snapshot: Snapshot) -> bytes:
    """The page's text."""
    registry = CollectorRegistry()
    registry.register(_SnapshotCollector(snapshot))
    return generate_latest(registry)


class _SnapshotCollector(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        tasks = self._snapshot["tasks"]
        resolvers = [task for task in tasks if "counts" in task]
        yield from _records(resolvers)
        yield from _times(resolvers)
        yield from _tasks(tasks)
        yield from _unstable(tasks)
        yield from _checks(self._snapshot.get("checks", []))
        yield _label_delays(resolvers)
        yield from _bins([task for task in tasks if "bins" in task])
        yield from _streams([task for task in tasks if "streams" in task])
        yield from _worker(self._snapshot)


Samples = Iterable[tuple[list[str], float]]


def _family(metric: metrics.Metric, samples: Samples) -> Metric:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _records(resolvers: list[Snapshot]) -> Iterator[Metric]:
    counts = [
        (str(task["partition"]), *name.rpartition("/")[::2], count)
        for task in resolvers
        for name, count in _counts(task).items()
    ]
    records = (c for c in counts if c[1] not in ("settled", "interactions", "check"))
    yield _family(metrics.RECORDS, (([p, topic, result], n) for p, topic, result, n in records))
    settled = (c for c in counts if c[1] == "settled")
    yield _family(metrics.OUTCOMES, (([p, status], n) for p, _, status, n in settled))
    unmatched = (c for c in counts if c[1:3] == ("interactions", "unmatched"))
    yield _family(metrics.UNMATCHED, (([p], n) for p, _, _, n in unmatched))


def _counts(task: Snapshot) -> dict[str, int]:
    """While it restores a task does not know its counts: 0 would be a counter that goes back."""
    counted: dict[str, int] = task["counts"]
    return NOT_COUNTED | counted if task["state"] == "running" else counted


def _times(resolvers: list[Snapshot]) -> Iterator[Metric]:
    yield _family(metrics.OPEN, (([str(t["partition"])], t["open"]) for t in resolvers))
    now_s = time.time()
    yield _family(
        metrics.WATERMARK_LAG,
        (
            ([str(task["partition"])], now_s - task["settled_until_ms"] / 1000)
            for task in resolvers
            if task["settled_until_ms"] > 0
        ),
    )
    graces = (([str(task["partition"])], task["grace_ms"] / 1000) for task in resolvers)
    yield _family(metrics.GRACE, graces)


def _tasks(tasks: list[Snapshot]) -> Iterator[Metric]:
    yield _family(
        metrics.TASK_READY,
        (([t["agent"], str(t["partition"])], t["state"] == "running") for t in tasks),
    )
    yield _family(
        metrics.TASK_REOPENED,
        (([t["agent"], str(t["partition"])], max(t["reopened"], 0)) for t in tasks),
    )
    now_s = time.time()
    yield _family(
        metrics.APPLIED_LAG,
        (
            ([t["agent"], str(t["partition"])], max(now_s - t["applied_until_ms"] / 1000, 0))
            for t in tasks
        ),
    )
    for metric, field in ((metrics.QUEUED, "queued"), (metrics.CONSUMER_LAG, "lag")):
        yield _family(
            metric,
            (
                ([task["agent"], str(task["partition"]), topic], value)
                for task in tasks
                for topic, value in task.get(field, {}).items()
            ),
        )


def _unstable(tasks: list[Snapshot]) -> Iterator[Metric]:
    now_s = time.time()
    counts, seconds = [], []
    for task in tasks:
        for topic, held in task.get("unstable", {}).items():
            labels = [task["agent"], str(task["partition"]), topic]
            counts.append((labels, held["count"] if held else 0))
            seconds.append((labels, max(now_s - held["since_ms"] / 1000, 0) if held else 0))
    yield _family(metrics.UNSTABLE, counts)
    yield _family(metrics.UNSTABLE_SECONDS, seconds)


def _worker(snapshot: Snapshot) -> Iterator[Metric]:
    yield _family(metrics.PARTITIONS, [([], snapshot["partitions"])])
    restores = (([r["agent"], str(r["partition"])], r["count"]) for r in snapshot["restores"])
    yield _family(metrics.TASK_RESTORES, restores)
    transactions = {"committed": 0, "unknown": 0} | snapshot["transactions"]
    yield _family(metrics.TRANSACTIONS, (([result], n) for result, n in transactions.items()))


def _checks(checks: list[Snapshot]) -> Iterator[Metric]:
    """The interval is a label: a number only where a check is not continuous."""

    def of(metric: metrics.Metric, field: str, unit: int = 1) -> Metric:
        told = (check for check in checks if check[field] is not None)
        labels = (([check["name"], check["interval"]], check[field] / unit) for check in told)
        return _family(metric, labels)

    yield of(metrics.CHECK_LAST_RUN, "last_run_ms", 1000)
    yield of(metrics.CHECK_HANDLED, "handled")
    yield of(metrics.CHECK_FAILURES, "failures")


def _capped(names: Iterable[str], names_max: int = ACTION_TYPES_MAX) -> set[str]:
    """The names that get a label of their own."""
    return set(sorted(set(names))[:names_max])


def _label_delays(resolvers: list[Snapshot]) -> Metric:
    metric = metrics.LABEL_DELAY
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    shown = _capped(name for task in resolvers for name in task["label_delays"])
    for task in resolvers:
        merged: dict[str, dict[str, Any]] = {}
        for action_type, delays in task["label_delays"].items():
            label = action_type if action_type in shown else "other"
            held = merged.setdefault(
                label,
                {
                    "bounds_s": delays["bounds_s"],
                    "counts": [0] * len(delays["counts"]),
                    "sum_ms": 0,
                },
            )
            held["counts"] = [a + b for a, b in zip(held["counts"], delays["counts"], strict=True)]
            held["sum_ms"] += delays["sum_ms"]
        for label, delays in merged.items():
            total, buckets = 0, []
            for bound, count in zip([*delays["bounds_s"], "+Inf"], delays["counts"], strict=True):
                total += count
                buckets.append((str(bound), total))
            family.add_metric([str(task["partition"]), label], buckets, delays["sum_ms"] / 1000)
    return family


def _bins(calibrators: list[Snapshot]) -> Iterator[Metric]:
    """Sums of which PromQL makes Brier and ECE; tenants and action types past a cap are `other`."""
    rows = [(str(task["partition"]), row) for task in calibrators for row in task["bins"]]
    shown = _capped(row["action_type"] for _, row in rows)
    tenants = _capped((row["tenant_id"] for _, row in rows), TENANTS_MAX)
    sums: dict[tuple[str, str, str, str], list[int]] = {}
    for partition, row in rows:
        label = row["action_type"] if row["action_type"] in shown else "other"
        tenant = row["tenant_id"] if row["tenant_id"] in tenants else "other"
        held = sums.setdefault((partition, tenant, label, str(row["bin"])), [0] * 5)
        for place, name in enumerate(("n", "sp", "spp", "sy", "spy")):
            held[place] += row[name]
    families = (
        (metrics.BIN_RECORDS, 0, 1),
        (metrics.BIN_CONFIDENCE, 1, UNIT),
        (metrics.BIN_CONFIDENCE_SQUARES, 2, UNIT * UNIT),
        (metrics.BIN_POSITIVES, 3, 1),
        (metrics.BIN_POSITIVE_CONFIDENCE, 4, UNIT),
    )
    for metric, place, unit in families:
        yield _family(metric, ((list(labels), held[place] / unit) for labels, held in sums.items()))


def _streams(calibrators: list[Snapshot]) -> Iterator[Metric]:
    """Where the streams stand, by action type: of tenants only how many and how far."""
    shown = _capped(row["action_type"] for task in calibrators for row in task["streams"])
    held: dict[tuple[str, str], list[Snapshot]] = {}
    for task in calibrators:
        for row in task["streams"]:
            label = row["action_type"] if row["action_type"] in shown else "other"
            held.setdefault((str(task["partition"]), label), []).append(row)
    nano = 10**9
    yield _family(
        metrics.LOG_EVIDENCE,
        (
            (list(at), max(r["log_evidence_nanos"] for r in rows) / nano)
            for at, rows in held.items()
        ),
    )
    yield _family(
        metrics.ALARM, ((list(at), sum(r["is_alarm"] for r in rows)) for at, rows in held.items())
    )
    yield _family(
        metrics.THRESHOLD,
        (
            (list(at), sum(r["threshold"] for r in rows) / UNIT / len(rows))
            for at, rows in held.items()
        ),
    )
    yield _family(
        metrics.SUPPORTED_TRENDS,
        (
            ([*at, metric, direction], sum(r["trends"][metric] == direction for r in rows))
            for at, rows in held.items()
            for metric in rows[0]["trends"]
            for direction in SUPPORTED_DIRECTIONS
        ),
    )
