"""The way of one event, top to bottom. Start reading here.

    producers
       │ agent-actions, agent-interactions, control      (agents_topics.events, .codec)
       ▼
    outcome-resolver   resolve_outcomes → tables.outcome_resolver, .outcome_join   (pure)
       │ one transaction: outcomes, settled-outcomes, late-events, dead-letters, forgotten,
       │ changelog, offsets
       ▼
    calibrator         calibrate → tables.calibrator, .stream_calibration          (pure)
       │ one transaction: calibration-updates, threshold-adjustments, calibration-maps,
       │ trend-changes, changelog, offsets
       ▼
    publisher          publish → sinks.postgres                 (offsets in the same transaction)

Each arrow is a topic, each name a Faust agent; a task is one partition number of one agent. Faust
hands whole batches over (`batches`); the task that owns the partition does the rest (`task`).
"""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import faust

from agents_topics.roster import AgentRow
from streams.batches import BatchApp
from streams.tasks import Tasks


def bind(app: BatchApp, tasks: Tasks) -> None:
    """Gives every Faust agent that this worker runs its topics and its function."""
    for row in tasks.agents:
        names = [tasks.tools.names[topic.name] for topic in row.reads]
        channel = app.topic(*names, key_serializer="raw", value_serializer="raw", acks=False)
        channel.decode = partial(_undecoded, channel)  # type: ignore[method-assign]
        app.agent(channel, name=row.name)(partial(hand_over, row, tasks))


async def hand_over(row: AgentRow, tasks: Tasks, stream: Any) -> None:
    """Every batch goes to the task that owns its partition."""
    events: AsyncIterator[Any] = stream.events()
    async for event in events:
        message = event.message
        for partition, batch in message.value.items():
            tasks.accept(row, message.topic, partition, batch)


async def _undecoded(channel: Any, message: Any, *, propagate: bool = False) -> faust.Event:
    """A batch's records are decoded by the task, not by Faust."""
    event: faust.Event = channel._create_event(None, message.value, message.headers, message)
    return event
