"""A person overrules: a decision on thresholds or alarms goes to every partition of `control`.

What would change nothing is refused before it is sent.
"""

import asyncio
import getpass
import time
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from agents_topics.calibration import StreamCalibration
from agents_topics.connection import Connection
from agents_topics.events import CloseAlarm, ThresholdOverride, to_timestamp
from sinks.postgres.calibration_readings import calibration_streams
from streams.settings import read_settings
from tables.stream import stream_of
from trueup.connecting import connection_here
from trueup.curve_words import stream_words
from trueup.emit import send_override
from trueup.exits import BAD_INPUT, USAGE
from trueup.plain_terminal import print_words
from trueup.printing import fail
from trueup.surroundings import database_here, tenant_here


class Meant(NamedTuple):
    """The streams that a decision is for: those of an action type, or fewer."""

    tenant: str
    action_type: str
    outcome_type: str | None
    source: str | None


def overrule(
    meant: Meant,
    event: type[ThresholdOverride] | type[CloseAlarm],
    because: str,
    by: str | None,
    asked: Mapping[str, Any],
    done: str,
) -> None:
    """Sends a decision and says which streams it is for; ends the command where there is none."""
    connection, url, tenant_id = connection_here(), database_here(), tenant_here(meant.tenant)
    override = event(
        **asked,
        event_id=f"override-{uuid.uuid4()}",
        tenant_id=tenant_id,
        action_type=meant.action_type,
        outcome_type=meant.outcome_type,
        confidence_source=meant.source,  # type: ignore[arg-type]  # the contract checks it
        reviewer=by or _logged_in(),
        occurred_at=to_timestamp(time.time_ns() // 1_000_000),
        because=because,
    )
    try:
        streams = asyncio.run(_send(connection, url, meant, override))
    except ValueError as problem:
        fail(f"Not sent: {problem}", USAGE)
    print_words(f"{stream_words(stream_of(one))}: {done}." for one in streams)


async def _send(
    connection: Connection, url: str, meant: Meant, override: ThresholdOverride | CloseAlarm
) -> list[StreamCalibration]:
    """The streams concerned, once the decision is sent."""
    found = [
        one
        for one in await calibration_streams(url, override.tenant_id, meant.action_type)
        if meant.outcome_type in (None, one.outcome_type)
        and meant.source in (None, one.confidence_source)
    ]
    if not found:
        fail(f"Not sent: nothing of {meant.action_type} has settled for {meant.tenant}.", BAD_INPUT)
    if isinstance(override, CloseAlarm):
        found = [one for one in found if one.alarm_at_ms is not None]
        if not found:
            fail(f"Not sent: no alarm of {meant.action_type} is open.", BAD_INPUT)
    await send_override(connection, override, read_settings().partitions)
    return found


def _logged_in() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container need not know who it runs as
        return "unknown"
