"""`trueup up`."""

import asyncio
import os
import time

from agents_topics.connection import connection_of
from sinks.postgres.migrate import migrate
from streams.settings import read_settings
from streams.topic_admin import create_topics
from trueup.commands.options import KafkaPort, PostgresPort
from trueup.embedded.folders import private_folder
from trueup.embedded.leftovers import remove_leftovers
from trueup.embedded.servers import servers
from trueup.exits import ENVIRONMENT
from trueup.printing import fail, print_line, print_step
from trueup.running import FOLDER, announced, rules_of
from trueup.signals import end_in_order
from trueup.worker_process import WorkerProcess


def command(kafka_port: KafkaPort = None, postgres_port: PostgresPort = None) -> None:
    """Steps, then quiet until Ctrl-C or the worker's end."""
    end_in_order()
    private_folder(FOLDER.absolute())
    began_s = time.monotonic()
    if count := remove_leftovers():
        print_step(f"removed {count} folders that killed runs had left", time.monotonic() - began_s)
    partitions = read_settings().partitions
    with servers(
        FOLDER / "data",
        say=print_step,
        kafka_port=kafka_port,
        postgres_port=postgres_port,
        prepare=migrate,
    ) as running:
        settings = {
            **rules_of(os.environ),
            "KAFKA_BOOTSTRAP": running.kafka_bootstrap,
            "DATABASE_URL": running.database_url,
        }
        asyncio.run(create_topics(connection_of({**os.environ, **settings}), partitions))
        worker = WorkerProcess(settings, FOLDER / "worker.log")
        try:
            with announced({**settings, "TRUEUP_METRICS": f"{worker.url}/metrics"}):
                asyncio.run(worker.wait_until_ready())
                print_line(f"worker, metrics at {worker.url}/metrics")
                print_line("In a second terminal, in this folder: trueup emit my.ndjson")
                print_line(f"Ctrl-C ends it; the data stay in {FOLDER / 'data'} for the next time.")
                code = worker.process.wait()
                fail(f"The worker has ended (exit {code}): {worker.log_file}", ENVIRONMENT)
        finally:
            worker.stop()
