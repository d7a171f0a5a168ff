"""From the fold to the function: what agents are sent of a map, and what they make of it."""

from math import log

import pytest
from pydantic import TypeAdapter

from agents_topics.calibration import (
    CalibrationMap,
    StreamCalibration,
    ThresholdAdjustment,
    calibrated_confidence,
)
from agents_topics.events import Promise
from agents_topics.policy_file import load_policy
from streams.calibrate import outs_of
from tables.calibration_map import CalibrationMap as LogisticMap
from tables.calibrator import Calibrator
from tests.integration.test_postgres_writer import outcome, settled

HOUR_MS = 3_600_000
TENANT = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"
KEY = f"{TENANT}/send_email/email_engagement/86400000/self_report".encode()
LOGISTIC = {0.55: 0.3, 0.65: 0.4, 0.75: 0.5, 0.85: 0.65, 0.95: 0.85}
"""By stated confidence the share that comes true: about σ(-1 + logit p)."""
BENT = {0.55: 0.02, 0.75: 0.6, 0.95: 0.6}
"""No logistic map has this form."""
TRUE = {p: p for p in LOGISTIC}


def outcomes_of(rates, count=500):
    """One an hour, by turns of each confidence, at exactly its rate in every hundred."""
    for number in range(count):
        turn, place = divmod(number, len(rates))
        p, rate = list(rates.items())[place]
        is_true = int((turn + 1) * rate + 1e-9) > int(turn * rate + 1e-9)
        at_ms = HOUR_MS * number
        yield settled(
            outcome(
                tenant_id=TENANT,
                id=f"{number}",
                action_id=f"a{number}",
                created_at_ms=at_ms,
                window_expires_at_ms=at_ms + 24 * HOUR_MS,
                settled_at_ms=at_ms + 24 * HOUR_MS,
                predicted_confidence=p,
            ),
            status="positive" if is_true else "negative",
        )


def sent(rates):
    """What the calibrator writes, by topic, and the events among it."""
    calibrator = Calibrator(1, load_policy(None))
    for one in outcomes_of(rates):
        calibrator.on_settled(one)
    calibrator.on_promise(Promise(source=0, until_ms=2**60))
    calibrator.enter()
    step = calibrator.finish()
    return outs_of(step), [update for _, update in step.updates]


def read(value):
    """As an agent does that has pydantic alone."""
    return TypeAdapter(CalibrationMap).validate_json(value)


@pytest.mark.parametrize(
    ("rates", "form"), [(LOGISTIC, "logistic"), (BENT, "monotone")], ids=["logistic", "monotone"]
)
def test_a_published_map_corrects_what_an_agent_states(rates, form):
    outs, told = sent(rates)

    record = outs["calibration-maps"][-1]
    found = read(record.value)
    stands = next(one for one in told if isinstance(one, StreamCalibration))
    first = next(one for one in told if isinstance(one, ThresholdAdjustment))
    assert (record.key, found.form) == (KEY, form)
    assert found in told
    assert first.log_evidence_nanos >= 1e9 * log(20)
    assert (found.a_millionths, found.b_millionths, found.adopted_at_ms) == (
        stands.map_a_millionths,
        stands.map_b_millionths,
        stands.map_adopted_at_ms,
    )
    corrected = {p: calibrated_confidence(found, p) for p in rates}
    assert corrected == pytest.approx(rates, abs=0.1)
    in_force = LogisticMap(found.a_millionths, found.b_millionths)
    for p, success in corrected.items():
        by_map = in_force.of(p) if form == "logistic" else found.rates[int(10 * p)]
        assert success == pytest.approx(by_map)
    assert [calibrated_confidence(found, p) for p in (0.05, 0.2, 0.499_999)] == [None] * 3


def test_an_agent_that_is_right_about_itself_is_sent_no_map():
    outs, told = sent(TRUE)

    assert outs["calibration-maps"] == outs["threshold-adjustments"] == []
    stands = next(one for one in told if isinstance(one, StreamCalibration))
    assert (stands.n, stands.map_a_millionths) == (500, None)
