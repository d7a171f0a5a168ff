"""A rebuilt calibrator where it is easily wrong: a case, written out."""

import msgspec

from agents_topics.events import Promise
from agents_topics.policy_file import load_policy
from streams.transactions import Out
from tables.calibrator import Calibrator
from tables.calibrator_rebuild import CalibratorRebuild
from tests.property.test_forgotten_tenants import HOUR, outcome
from trueup.rebuild import is_unsaid


def test_what_was_never_said_of_a_tenant_before_it_was_forgotten_is_not_said_now():
    """The lost task heard of the outcome and of the forgetting in one step, the rebuild in two."""
    policy = load_policy(None)
    live, again = Calibrator(1, policy), CalibratorRebuild(1, policy)
    for calibrator in (live, again.calibrator):
        calibrator.on_settled(outcome(1, "t", 0, 0.5, is_positive=True))
        calibrator.on_settled(outcome(2, "t", 0, None, is_positive=True))
        calibrator.on_promise(Promise(source=0, until_ms=9 * HOUR))
    again.finish()
    for calibrator in (live, again.calibrator):
        calibrator.on_forgotten("t", "f", 0)
    again.finish()

    assert live.finish().updates == []
    assert again.updates
    outs = [Out(k.encode(), msgspec.json.encode(update)) for k, update in again.updates.items()]
    assert not any(is_unsaid(out, {}) for out in outs)
