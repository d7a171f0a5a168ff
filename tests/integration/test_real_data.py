"""Other people's predictions as events through real Kafka into Postgres, against other codes."""

import csv
import os
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import brier_score_loss
from sklearn.model_selection import cross_val_predict

from agents_topics.identifiers import tenant_id_of
from examples.classifiers import CLASSIFIERS, FOLDS
from examples.forecasts import events_of
from examples.settling import settled
from tables.scores import brier_score, expected_calibration_error
from tests.real_data import GOLDEN, real

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
MARKETS = "forecastbench_markets.csv"
AS_OF = datetime(2026, 8, 11, tzinfo=UTC)  # the first day on which an open question was looked at
WINDOW, GRACE = timedelta(days=240), timedelta(hours=1)


def figures(p, y):
    """Brier by scikit-learn, ECE by numpy; scikit-learn's bins are closed on the other side."""
    index = np.minimum(np.round(p * 1e6).astype(int) // 100_000, 9)
    gaps = [abs((p - y)[index == k].mean()) * (index == k).mean() for k in set(index)]
    return brier_score_loss(y, p), sum(gaps)


def rows_of(name):
    with real(name).open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def ends_of_markets():
    """By source and action what must stand in Postgres: whether it has settled, and its status."""
    ends = {}
    for row in rows_of(MARKETS):
        end = datetime.fromisoformat(row["forecast_at"]) + WINDOW
        resolved_at = datetime.fromisoformat(row["resolution_date"]).replace(tzinfo=UTC)
        is_open = end + GRACE > AS_OF
        status = "pending" if is_open else "expired"
        if row["is_resolved"] == "true" and resolved_at < end:
            status = {"1.0": "positive", "0.0": "negative"}[row["resolved_to"]]
        action = (tenant_id_of(row["source"]), f"{row['question_id']} {row['round']}")
        ends[action] = (not is_open, status, float(row["forecast_probability"]))
    return ends


@pytest.fixture(scope="module")
def found(servers, database_url):
    """All three files in one run: games of eight years and questions with their real delays."""
    events = [e for name in (*GOLDEN, MARKETS) for e in events_of(real(name))[0]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KAFKA_BOOTSTRAP", servers.kafka_bootstrap)
        patch.setenv("DATABASE_URL", database_url)
        return settled(events, AS_OF.isoformat().replace("+00:00", "Z"))


@pytest.mark.parametrize("name", GOLDEN)
def test_games_have_their_golden_numbers_and_ties_are_ambiguous(found, name):
    count, ambiguous, brier, ece = GOLDEN[name]
    tenant_id = tenant_id_of(name.removesuffix(".csv"))
    own = [row for row in found.outcomes if str(row["tenant_id"]) == tenant_id]
    counted = [r for r in own if r["outcome_status"] in ("positive", "negative")]
    p = np.array([row["predicted_confidence"] for row in counted])
    y = np.array([row["outcome_status"] == "positive" for row in counted])

    bins = found.bins[tenant_id, "all"]

    assert (sum(b.n for b in bins), sum(b.excluded_n for b in bins)) == (count, ambiguous)
    assert len(own) == count + ambiguous
    assert Counter(row["outcome_status"] for row in own)["ambiguous"] == ambiguous
    assert all(row["is_settled"] for row in own)
    for of_bins, of_rows, golden in zip(
        (brier_score(bins), expected_calibration_error(bins)),
        figures(p, y),
        (brier, ece),
        strict=True,
    ):
        assert of_bins == pytest.approx(of_rows, abs=1e-6)
        assert round(of_bins, 4) == round(golden, 4)


def test_questions_settle_expire_or_stay_open_by_their_real_delays(found):
    ends = ends_of_markets()
    tenants = {tenant_id for tenant_id, _ in ends}

    stored = {
        (str(row["tenant_id"]), row["action_id"]): (
            row["is_settled"], row["outcome_status"], row["predicted_confidence"],
        )
        for row in found.outcomes if str(row["tenant_id"]) in tenants
    }  # fmt: skip

    assert stored == ends
    seen = Counter((is_settled, status) for is_settled, status, _ in ends.values())
    assert min(seen[True, s] for s in ("positive", "negative", "expired")) > 50
    assert min(seen[False, s] for s in ("positive", "negative", "pending")) > 10
    assert len(tenants) == 4


def test_the_scores_of_questions_are_those_of_what_was_answered_in_time(found):
    ends = ends_of_markets()

    for tenant_id in {tenant_id for tenant_id, _ in ends}:
        own = [end for (owner, _), end in ends.items() if owner == tenant_id]
        counted = [
            (p, s == "positive") for is_settled, s, p in own if is_settled and s != "expired"
        ]
        p, y = np.array(counted).T
        bins = found.bins[tenant_id, "all"]
        brier, ece = figures(p, y)

        assert sum(b.n for b in bins) == len(counted)
        assert sum(b.excluded_n for b in bins) == sum(s == "expired" for _, s, _ in own)
        assert brier_score(bins) == pytest.approx(brier, abs=1e-6)
        assert expected_calibration_error(bins) == pytest.approx(ece, abs=1e-6)


def test_nothing_is_late_or_dead_and_the_ledger_is_exact(found):
    assert found.audit.is_exact, str(found.audit)
    for topic in ("agent-actions", "agent-interactions"):
        counts = found.audit.records[topic]
        assert counts["admitted"] == sum(counts.values()) > 1_000, (topic, counts)


# --- classifiers ---------------------------------------------------------------------------------


def documented(name):
    """The command of that name in docs/real-data.md, which is one line."""
    text = (REPOSITORY / "docs" / "real-data.md").read_text(encoding="utf-8")
    (line,) = re.search(rf"^```sh {name}\n(.*?)^```$", text, re.M | re.S)[1].splitlines()
    return line


@pytest.mark.soak
def test_the_documented_command_settles_the_classifiers(servers, own_database_url):
    command = documented("classifiers").replace(".venv/bin/python", sys.executable)
    servers_of_ours = {
        "KAFKA_BOOTSTRAP": servers.kafka_bootstrap, "DATABASE_URL": own_database_url
    }  # fmt: skip
    images, digits = load_digits(return_X_y=True)

    done = subprocess.run(
        ["sh", "-c", command], cwd=REPOSITORY, env={**os.environ, **servers_of_ours},
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "the ledger is exact" in done.stdout
    for name, verdict in (
        ("naive-bayes", "over-confident"),
        ("logistic-regression", "no miscalibration seen"),
        ("random-forest", "under-confident"),
    ):
        shares = cross_val_predict(
            CLASSIFIERS[name], images, digits, cv=FOLDS, method="predict_proba"
        )
        p, y = shares.max(axis=1).clip(0, 1), shares.argmax(axis=1) == digits
        brier, ece = figures(p, y)
        says = (
            rf"{name} says {100 * p.mean():.0f} %, is right {100 * y.mean():.0f} % \(\S+\),"
            rf" 1,797 settled: {verdict}\n  Brier {brier:.4f}, ECE {ece:.4f}, n 1,797\n"
        )
        assert re.search(says, done.stdout), (says, done.stdout)
