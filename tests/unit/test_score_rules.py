"""The recording rules of scores: Prometheus computes what `tables` computes, of the same sums."""

import random
import subprocess
from pathlib import Path

import pytest
import yaml

from sinks.prometheus.collector import render
from tables.calibration_bins import SUM_NAMES, UNIT, Sums, bin_index_of
from tables.debiased_error import debiased_error
from tables.scores import brier_score, expected_calibration_error
from tests.prometheus import program
from tests.unit.test_prometheus import samples, snapshot

RULES = Path(__file__).parents[2] / "docker" / "scores.yml"
TENANTS, ACTION_TYPES = ("t-1", "t-2"), ("send_email", "qualify")


def bins_of(seed):
    """Ten bins by tenant and action type; one holds a single record, one none."""
    dice = random.Random(seed)
    found = {}
    for tenant in TENANTS:
        for action_type in ACTION_TYPES:
            bins = found[tenant, action_type] = [Sums() for _ in range(10)]
            for _ in range(dice.randrange(30, 300)):
                millionths = dice.randrange(100_000, UNIT)
                bins[bin_index_of(millionths)].update(millionths, dice.randrange(2))
            bins[1] = Sums()
            bins[1].update(150_000, 1)
    return found


def series_of(bins):
    """What a worker shows, as input of promtool."""
    rows = [
        {"tenant_id": tenant, "action_type": action_type, "bin": index}
        | {name: getattr(sums, name) for name in SUM_NAMES}
        for (tenant, action_type), ten in bins.items()
        for index, sums in enumerate(ten)
        if sums.n
    ]
    page = samples(render(snapshot(rows)))
    return [
        {
            "series": name + "{" + ", ".join(f'{at}="{value}"' for at, value in labels) + "}",
            "values": f"{found!r}x3",
        }
        for name, of_labels in page.items()
        if name.startswith("trueup_calibration_bin")
        for labels, found in of_labels.items()
    ]


def expected(prefix, labels, bins):
    error = debiased_error(bins)
    values = {
        "brier_score": brier_score(bins),
        "expected_calibration_error": expected_calibration_error(bins),
        "debiased_calibration_error_square": error.square,
        "debiased_calibration_error": error.root,
    }
    chosen = ", ".join(f'{label}="{value}"' for label, value in labels.items())
    for name, value in values.items():
        yield {
            "expr": f"sum(abs({prefix}:{name}{{{chosen}}} - {value!r})) < bool 1e-9",
            "eval_time": "1m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }


def merged(bins, action_type):
    ten = [Sums() for _ in range(10)]
    for tenant in TENANTS:
        for held, more in zip(ten, bins[tenant, action_type], strict=True):
            held.merge(more)
    return ten


@pytest.mark.parametrize("seed", range(3))
def test_prometheus_computes_the_scores_that_the_tables_have(tmp_path, seed):
    bins = bins_of(seed)
    told = []
    for action_type in ACTION_TYPES:
        told += expected("trueup", {"action_type": action_type}, merged(bins, action_type))
        for tenant in TENANTS:
            labels = {"tenant": tenant, "action_type": action_type}
            told += expected("tenant:trueup", labels, bins[tenant, action_type])
    test = {"interval": "30s", "input_series": series_of(bins), "promql_expr_test": told}
    path = tmp_path / "scores_test.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": [test]}))

    done = subprocess.run(
        [program("promtool"), "test", "rules", path], capture_output=True, text=True, check=False
    )

    assert len(told) == 4 * 6
    assert done.returncode == 0, done.stdout + done.stderr
