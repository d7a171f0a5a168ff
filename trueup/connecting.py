"""A command's connection to the broker; where none answers, one sentence says so."""

import logging
import os
from typing import Any

from aiokafka.errors import KafkaConnectionError

from agents_topics.connection import Connection, connection_of
from streams.header_names import read_any_header_name
from trueup.embedded.problems import EnvironmentProblem
from trueup.running import SERVERS, adopt_running
from trueup.surroundings import TO_START
from trueup.unreached import listen, reason


def connection_here() -> Connection:
    """How Kafka is reached.

    Raises:
        EnvironmentProblem: No broker is known.
        ConnectionProblem: A setting is wrong.
    """
    adopt_running(os.environ)
    # What the client has to say of a broker that is away is told in one sentence, with its reason.
    listen()
    logging.getLogger("asyncio").addHandler(logging.NullHandler())  # tells what it never awaited
    read_any_header_name()
    if not os.environ.get(SERVERS[0]):
        raise EnvironmentProblem(
            "No Kafka is known.", f"Set KAFKA_BOOTSTRAP to host:port of a broker, or {TO_START}."
        )
    return connection_of(os.environ)


async def start(client: Any, connection: Connection) -> None:
    """Starts a Kafka client.

    Raises:
        EnvironmentProblem: no broker answers.
    """
    try:
        await client.start()
    except KafkaConnectionError:
        raise EnvironmentProblem(
            f"No Kafka broker answers on {connection.bootstrap}{reason()}.",
            "Check KAFKA_BOOTSTRAP and the other KAFKA_* settings, and that it runs.",
        ) from None
