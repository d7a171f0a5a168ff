"""A policy may name its tenants, and say that there are no others."""

import json

import pytest

from agents_topics.identifiers import tenant_id_of
from agents_topics.policy import PolicyProblem
from agents_topics.policy_file import DEFAULT_POLICY_TOML, parse_policy
from tests.ledger import BROKER, START, Ledger, body_of, key_of
from tests.resolver_task import INTERACTIONS, TENANT, Task, action, stage
from trueup.check import check_lines

OTHER = tenant_id_of("other")
NAMED = f'\n[tenants]\nacme = "{TENANT}"\n'
OPEN = parse_policy(DEFAULT_POLICY_TOML + NAMED)
LISTED = parse_policy('tenants_are = "listed"\n' + DEFAULT_POLICY_TOML + NAMED)


def test_a_file_may_name_tenants_and_not_list_them():
    assert OPEN.tenants == {"acme": TENANT}
    assert OPEN.listed_tenants is None
    assert LISTED.listed_tenants == {TENANT}


@pytest.mark.parametrize(("policy", "is_refused"), [(OPEN, False), (LISTED, True)])
def test_a_tenant_that_is_not_listed_is_a_dead_letter(policy, is_refused):
    task = Task(policy)

    step = task.step(action(0), action(1, tenant_id=OTHER), stage(2, "stalled", tenant_id=OTHER))

    reasons = [refused.reason for refused in step.refused]
    assert reasons == ["unknown_tenant"] * 2 * is_refused
    assert task.resolver.times.topics[INTERACTIONS].log_ms < START or not is_refused


@pytest.mark.parametrize(("policy", "is_found"), [(OPEN, True), (LISTED, False)])
def test_the_audit_holds_such_a_letter_to_the_list(policy, is_found):
    ledger = Ledger()
    value = body_of("a", START, tenant_id=OTHER)
    key = key_of("c2").replace(TENANT.encode(), OTHER.encode())
    ledger.record("agent-actions", value, BROKER, "dead", key=key)
    ledger.partition_count = 1
    ledger.letter("agent-actions", 0, "unknown_tenant", key=key)
    ledger.note(BROKER)

    assert bool(ledger.audit(policy).differences) == is_found


def test_a_producer_is_told_before():
    line = json.loads(body_of("a", START)) | {"tenant_id": OTHER}
    (problem,) = check_lines([json.dumps(line).encode()], None, LISTED)

    assert problem.field == "tenant_id"
    assert "lists its tenants" in problem.reason


def test_a_tenants_id_is_a_uuid():
    with pytest.raises(PolicyProblem, match=r"line .*: 'acme' needs its UUID"):
        parse_policy(DEFAULT_POLICY_TOML + '\n[tenants]\nacme = "acme"\n')
