"""The alert rules: true in Prometheus' own tests, about metrics that exist, each with its page."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from sinks.prometheus import metrics
from sinks.prometheus.collector import render
from tests.prometheus import program
from tests.unit.test_prometheus import samples, snapshot

ROOT = Path(__file__).parents[2]
RULES_FILE = ROOT / "docker" / "alerts.yml"
RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load(RULES_FILE.read_text())["groups"]
    for rule in group["rules"]
}

RECORDED = {
    rule["record"]: rule["expr"]
    for group in yaml.safe_load(RULES_FILE.with_name("scores.yml").read_text())["groups"]
    for rule in group["rules"]
}
TESTS = ("alerts_test.yml", "alerts_of_days_test.yml")


@pytest.mark.parametrize("name", TESTS)
def test_the_alerts_fire_when_they_must_and_not_else(name):
    promtool = program("promtool")

    done = subprocess.run(
        [promtool, "test", "rules", Path(__file__).with_name(name)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_such_a_test():
    fired = {
        rule["alertname"]
        for name in TESTS
        for test in yaml.safe_load(Path(__file__).with_name(name).read_text())["tests"]
        for rule in test["alert_rule_test"]
        if rule["exp_alerts"]
    }

    assert fired == set(RULES)


def test_prometheus_takes_the_file_that_the_compose_file_mounts():
    promtool = program("promtool")

    done = subprocess.run(
        [promtool, "check", "config", RULES_FILE.with_name("prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(RULES)} rules found" in done.stdout
    mounts = yaml.safe_load((RULES_FILE.with_name("compose.yaml")).read_text())["services"]
    assert "./alerts.yml:/etc/prometheus/alerts.yml:ro" in mounts["prometheus"]["volumes"]


def spelled_out(expression):
    """With the expressions of recorded series in the place of their names."""
    for name, recorded in RECORDED.items():
        expression = expression.replace(name, recorded)
    return expression


@pytest.mark.parametrize("name", RULES)
def test_a_rule_asks_for_metrics_labels_and_values_that_a_worker_shows(name):
    delays = {"send_email": {"bounds_s": (1,), "counts": [1, 2], "sum_ms": 4}}
    told = snapshot(counts={"settled/positive": 1}, delays=delays)
    stream = {"action_type": "qualify", "log_evidence_nanos": 0, "is_alarm": 1, "threshold": 1}
    stream["trends"] = {"success_rate": "stable"}
    told["tasks"][1]["streams"] = [stream]
    found = samples(render(told))
    labels = {metric: {key for at in rows for key, _ in at} for metric, rows in found.items()}
    shown = {pair for rows in found.values() for at in rows for pair in at}
    expression = spelled_out(RULES[name]["expr"])

    asked = re.findall(r"trueup_\w+", expression)
    by = {
        label
        for group in re.findall(r"\bby \(([^)]+)\)", expression)
        for label in group.split(", ")
    }

    assert asked
    assert set(asked) <= set(found)
    assert by - {"instance"} <= set.union(*(labels[metric] for metric in asked))
    for label, value in re.findall(r'(\w+)="([^"]+)"', expression):
        assert (label, value) in shown


@pytest.mark.parametrize("name", RULES)
def test_a_rule_has_a_page_that_says_what_it_means_what_to_look_at_and_what_to_do(name):
    page = (ROOT / RULES[name]["annotations"]["runbook_url"]).read_text()

    assert f"`{name}`" in page
    for heading in ("## What it means", "## What to look at", "## What to do"):
        assert heading in page
    assert RULES[name]["labels"]["severity"] in ("page", "ticket")


def test_no_page_is_without_its_rule():
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs/runbooks").iterdir()}

    assert pages == {rule["annotations"]["runbook_url"] for rule in RULES.values()}


def test_a_page_that_names_a_metric_names_one_that_exists():
    known = {m.name for m in vars(metrics).values() if isinstance(m, metrics.Metric)}

    for path in (ROOT / "docs/runbooks").iterdir():
        named = set(re.findall(r"trueup_\w+", path.read_text()))
        assert {name.removesuffix("_total") for name in named} <= known, path
