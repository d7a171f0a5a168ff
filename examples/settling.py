"""An example's events through a real Kafka, a worker and a real Postgres, until all has settled.

`KAFKA_BOOTSTRAP` and `DATABASE_URL` name servers to use, with an empty database; else embedded
ones run meanwhile. The events go the way of any user's: a file of one JSON object a line, checked
and sent as by `trueup emit`, then a clock record.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents_topics.connection import Connection, connection_of
from agents_topics.events import to_ms, to_timestamp
from agents_topics.identifiers import tenant_id_of
from agents_topics.policy_file import load_policy
from sinks.postgres.migrate import migrate
from sinks.postgres.queries import run_sql
from streams.topic_admin import create_topics
from tables.calibration_bins import BIN_COUNT, SUM_NAMES, Sums
from tables.scores import brier_score, expected_calibration_error
from trueup.audit import AuditReport
from trueup.demo import RULES, undisturbed
from trueup.embedded.servers import servers
from trueup.emit import emit_file, send_clock
from trueup.ledger import audit_database
from trueup.reliability_picture import in_words, needs_ascii, picture, picture_bin, reading_of
from trueup.settling import wait_until_settled
from trueup.worker_process import WorkerProcess

POLICY = Path(__file__).with_name("policy.toml")
GRACE_MS = RULES.grace_ms_max
DAY_MS = 24 * 3_600_000
OPERATOR = "trueup_operator"

Event = dict[str, Any]

_BINS = f"""
    SELECT tenant_id::text AS tenant, record_set, bin_index,
        {", ".join(f"{name}::text" for name in SUM_NAMES)}
    FROM tenant.calibration_stream_bins
"""


@dataclass(frozen=True, slots=True)
class Settled:
    """What Postgres has when all has settled, and what the audit says of it.

    `bins` are by tenant_id and record set, `all` or `lead`.
    """

    outcomes: list[dict[str, Any]]
    bins: dict[tuple[str, str], list[Sums]]
    audit: AuditReport


def in_order(events: Iterable[Event]) -> list[Event]:
    """By time, as they would have come: what comes hours behind the others is late."""
    return sorted(events, key=lambda event: to_ms(event["occurred_at"]))


def settled(events: Iterable[Event], until: str) -> Settled:
    """All events are sent and applied, and what closes before `until` less the grace is settled.

    Raises:
        EnvironmentProblem: the servers cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="trueup-example-") as name:
        folder = Path(name)
        file = folder / "events.ndjson"
        lines = (json.dumps(event) + "\n" for event in in_order(events))
        file.write_text("".join(lines), encoding="utf-8")
        with servers(prepare=migrate) as running:
            settings = {
                "KAFKA_BOOTSTRAP": running.kafka_bootstrap,
                "DATABASE_URL": running.database_url,
                "TRUEUP_POLICY": str(POLICY),
                # A log's time never goes back: each run has topics of its own.
                "TRUEUP_PREFIX": f"example-{int(time.time() * 1000):x}-",
                "TRUEUP_DATA_FOLDER": str(folder / "worker"),
            }
            inherited = undisturbed(os.environ, is_embedded_kafka=running.is_embedded_kafka)
            connection = connection_of({**inherited, **settings})
            asyncio.run(create_topics(connection, RULES.partitions))
            worker = WorkerProcess(settings, folder / "worker.log", inherited)
            try:
                return asyncio.run(_settle(connection, running.database_url, worker, file, until))
            finally:
                worker.stop()


async def _settle(
    connection: Connection, url: str, worker: WorkerProcess, file: Path, until: str
) -> Settled:
    policy = load_policy(POLICY)
    await worker.wait_until_ready()
    problems: list[object] = []
    emitted = await emit_file(connection, file, problems.append, policy=policy)
    if problems:
        raise ValueError(f"an event breaks the contract: {problems[0]}")
    await send_clock(connection, until, RULES.partitions)
    until_ms = to_ms(until) - GRACE_MS
    await wait_until_settled(worker, url, emitted.sent.total(), until_ms, lambda _: None)
    outcomes = await run_sql(url, "SELECT * FROM tenant.outcome_records", OPERATOR)
    return Settled(
        [dict(zip(outcomes.columns, row, strict=True)) for row in outcomes.rows],
        await _bins(url),
        await audit_database(connection, policy, url, RULES.grace_ms, RULES.idle_after_ms),
    )


async def _bins(url: str) -> dict[tuple[str, str], list[Sums]]:
    found: dict[tuple[str, str], list[Sums]] = {}
    for tenant_id, record_set, index, *sums in (await run_sql(url, _BINS, OPERATOR)).rows:
        bins = found.setdefault((tenant_id, record_set), [Sums() for _ in range(BIN_COUNT)])
        bins[index].merge(Sums(*map(int, sums)))
    return found


def finish(events: Sequence[Event], tenants: Sequence[str], *, print_only: bool) -> None:
    """Prints the events; or settles them, to a day after the last one, and tells of each tenant."""
    if print_only:
        for event in in_order(events):
            sys.stdout.write(json.dumps(event) + "\n")
        return
    last_ms = max(to_ms(event["occurred_at"]) for event in events)
    found = settled(events, to_timestamp(last_ms + DAY_MS + GRACE_MS))
    for name in tenants:
        sys.stdout.write("\n".join(told(name, found)) + "\n\n")
    word = "exact" if found.audit.is_exact else "NOT EXACT"
    sys.stdout.write(f"{len(events):,} events; the ledger is {word}.\n")


def told(tenant: str, found: Settled) -> list[str]:
    """A tenant's picture and sentence over lead records, and its scores over all."""
    tenant_id = tenant_id_of(tenant)
    empty = [Sums()] * BIN_COUNT
    lead, every = (found.bins.get((tenant_id, of), empty) for of in ("lead", "all"))
    own = [row for row in found.outcomes if str(row["tenant_id"]) == tenant_id]
    statuses = sorted({(row["is_settled"], row["outcome_status"]) for row in own}, reverse=True)
    counts = (
        f"{sum((row['is_settled'], row['outcome_status']) == status for row in own):,} "
        f"{status[1]}{'' if status[0] else ' (not settled)'}"
        for status in statuses
    )
    bins = [picture_bin(sums.n, sums.sp, sums.sy) for sums in lead]
    ascii_only = needs_ascii(sys.stdout)
    lines = [*picture(tenant, bins, ascii_only), in_words(tenant, reading_of(bins), ascii_only)]
    brier, ece = brier_score(every), expected_calibration_error(every)
    if brier is not None and ece is not None:
        lines.append(f"  Brier {brier:.4f}, ECE {ece:.4f}, n {sum(s.n for s in every):,}")
    return [*lines, f"  {', '.join(counts)}"]
