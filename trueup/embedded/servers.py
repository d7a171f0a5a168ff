"""Kafka and Postgres for as long as a `with` block lasts: the user's own, else embedded ones.

`KAFKA_BOOTSTRAP` and `DATABASE_URL` win: what is named there is used and nothing is started in its
place. Whatever is started ends with the block, and with this process however that ends.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trueup.embedded.accounts import postgres_account
from trueup.embedded.cache import FreeBytes, cache_folder, enough_disk, free_bytes
from trueup.embedded.folders import home_folder, postgres_folder, private_folder
from trueup.embedded.java import find_java
from trueup.embedded.kafka import EmbeddedKafka
from trueup.embedded.kafka_jars import JARS, KAFKA_VERSION, fetch_jars, jars_folder
from trueup.embedded.ports import asked_port
from trueup.embedded.postgres import EmbeddedPostgres
from trueup.embedded.postgres_binaries import find_postgres
from trueup.embedded.problems import EnvironmentProblem

DISK_MB_MIN = 500

Say = Callable[[str, float], None]
"""Told of each step: what was chosen, and the seconds it took."""

Prepare = Callable[[str], None]
"""Given the database's address once it takes connections, while Kafka is still starting."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Where Kafka and Postgres are, and the embedded ones themselves where they are ours.

    Args:
        database_url: The owner's address of the database; embedded, that of its superuser.
    """

    kafka_bootstrap: str
    database_url: str
    kafka: EmbeddedKafka | None
    postgres: EmbeddedPostgres | None

    @property
    def is_embedded_kafka(self) -> bool:
        """Whether Kafka was started here."""
        return self.kafka is not None

    @property
    def is_embedded_postgres(self) -> bool:
        """Whether Postgres was started here."""
        return self.postgres is not None


def silent(_text: str, _seconds: float) -> None:
    """Says nothing."""


@contextmanager
def servers(
    folder: Path | None = None,
    *,
    say: Say = silent,
    kafka_port: int | None = None,
    postgres_port: int | None = None,
    throwaway: bool | None = None,
    free: FreeBytes = free_bytes,
    prepare: Prepare | None = None,
) -> Iterator[Servers]:
    """Kafka and Postgres are ready inside the block and, if they are ours, gone after it.

    Args:
        folder: Where their data stay for the next time; None for a fresh temporary folder.
        say: Told of each step, from one thread at a time.
        kafka_port: The port Kafka must have; None for a free one.
        postgres_port: The port Postgres must have; None for a free one.
        throwaway: Data are removed afterwards and nothing waits for the disk; the default
            without a folder.
        free: How much space a disk has.
        prepare: Makes the database ready; it costs no time of its own then, for Kafka is slower.

    Raises:
        EnvironmentProblem: Something is missing on this machine; nothing is left running.
    """
    bootstrap, url = os.environ.get("KAFKA_BOOTSTRAP"), os.environ.get("DATABASE_URL")
    if bootstrap and url:
        _say_given(say, bootstrap, url)
        _prepared(prepare, url, say)
        yield Servers(bootstrap, url, None, None)
        return
    refuse_windows()
    for port, server in ((kafka_port, "Kafka"), (postgres_port, "Postgres")):
        if port is not None:
            asked_port(port, server)
    is_throwaway = folder is None if throwaway is None else throwaway
    with home_folder(folder) as home:
        enough_disk(home, DISK_MB_MIN, free)
        start = _Start(home, _one_at_a_time(say), is_throwaway)
        _say_given(say, bootstrap, url)
        try:
            kafka, postgres = start.both(
                None if bootstrap else start.kafka(kafka_port),
                None if url else start.postgres(postgres_port, prepare),
            )
            if url:
                _prepared(prepare, url, say)
            yield Servers(
                bootstrap or (kafka.bootstrap if kafka else ""),
                url or (postgres.url if postgres else ""),
                kafka,
                postgres,
            )
        finally:
            start.undo()


def refuse_windows(platform: str = sys.platform) -> None:
    """Returns where the servers can be run.

    Raises:
        EnvironmentProblem: This is native Windows.
    """
    if platform == "win32":
        raise EnvironmentProblem(
            "The embedded Kafka and Postgres do not run on native Windows.",
            "Run this in WSL2, or set KAFKA_BOOTSTRAP and DATABASE_URL to servers elsewhere.",
        )


class _Start:
    """Starts the two at the same time and remembers what must be undone."""

    def __init__(self, home: Path, say: Say, throwaway: bool) -> None:
        self._home = home
        self._say = say
        self._throwaway = throwaway
        self._made: list[EmbeddedKafka | EmbeddedPostgres] = []

    def both(
        self,
        kafka: Callable[[], EmbeddedKafka] | None,
        postgres: Callable[[], EmbeddedPostgres] | None,
    ) -> tuple[EmbeddedKafka | None, EmbeddedPostgres | None]:
        """Both have started afterwards, or neither runs."""
        with ThreadPoolExecutor(2) as pool:
            postgres_starts = pool.submit(postgres) if postgres else None
            kafka_starts = pool.submit(kafka) if kafka else None
            starts = [start for start in (postgres_starts, kafka_starts) if start]
            try:
                for start in as_completed(starts):
                    start.result()
            except BaseException:
                self._stop_all()  # so that the other thread, which the pool waits for, ends soon
                raise
        return (
            kafka_starts.result() if kafka_starts else None,
            postgres_starts.result() if postgres_starts else None,
        )

    def undo(self) -> None:
        """Everything started is gone, and so are the data if they were to be thrown away."""
        self._stop_all()
        if self._throwaway:
            for server in self._made:
                shutil.rmtree(server.folder, ignore_errors=True)

    def _stop_all(self) -> None:
        with ThreadPoolExecutor(2) as pool:
            for stopping in [pool.submit(server.stop) for server in self._made]:
                stopping.result()

    def kafka(self, port: int | None) -> Callable[[], EmbeddedKafka]:
        """What fetches and starts a Kafka."""

        def start() -> EmbeddedKafka:
            kafka = kafka_in(self._home, port=port, throwaway=self._throwaway, say=self._say)
            self._started(kafka, lambda: f"Kafka {KAFKA_VERSION} on {kafka.bootstrap}")
            return kafka

        return start

    def postgres(self, port: int | None, prepare: Prepare | None) -> Callable[[], EmbeddedPostgres]:
        """What starts a Postgres; whether one can be had is known before anything is fetched."""
        postgres = postgres_in(self._home, port=port, throwaway=self._throwaway)

        def start() -> EmbeddedPostgres:
            self._started(postgres, lambda: f"{postgres.binaries} on 127.0.0.1:{postgres.port}")
            _prepared(prepare, postgres.url, self._say)
            return postgres

        return start

    def _started(
        self, server: EmbeddedKafka | EmbeddedPostgres, description: Callable[[], str]
    ) -> None:
        began = time.monotonic()
        self._made.append(server)
        server.start()
        self._say(description(), time.monotonic() - began)


def kafka_in(
    home: Path,
    *,
    port: int | None = None,
    throwaway: bool = False,
    say: Say = silent,
    settings: str = "",
) -> EmbeddedKafka:
    """A Kafka that could start: its Java is found, its jars are fetched.

    `settings` are lines for its `server.properties` that win over ours.

    Raises:
        EnvironmentProblem: One of them cannot be had.
    """
    began = time.monotonic()
    java = find_java()
    say(str(java), time.monotonic() - began)

    began = time.monotonic()
    cache = cache_folder()
    fetched = fetch_jars(cache)
    how = f"{fetched} fetched" if fetched else "cached"
    say(f"Kafka {KAFKA_VERSION} jars ({len(JARS)}, {how})", time.monotonic() - began)

    folder = private_folder(home / "kafka")
    return EmbeddedKafka(
        folder, java, jars_folder(cache), port=port, throwaway=throwaway, settings=settings
    )


def postgres_in(
    home: Path, *, port: int | None = None, throwaway: bool = False
) -> EmbeddedPostgres:
    """A Postgres that could start: its programs are found, and somebody who may run them.

    Raises:
        EnvironmentProblem: One of them cannot be had.
    """
    account = postgres_account()
    folder = postgres_folder(home, account)
    binaries = find_postgres(_major_of(folder / "data"))
    if account.is_another:
        binaries = binaries.for_others(folder)
    return EmbeddedPostgres(folder, binaries, account, port=port, throwaway=throwaway)


def _major_of(data: Path) -> int | None:
    """Which Postgres wrote the data folder; None before there is one."""
    version = data / "PG_VERSION"
    return int(version.read_text(encoding="ascii")) if version.exists() else None


def _prepared(prepare: Prepare | None, url: str, say: Say) -> None:
    if prepare is not None:
        began = time.monotonic()
        prepare(url)
        say("schema", time.monotonic() - began)


def _say_given(say: Say, bootstrap: str | None, url: str | None) -> None:
    if bootstrap:
        say(f"Kafka on {bootstrap} (KAFKA_BOOTSTRAP)", 0.0)
    if url:
        say("Postgres of DATABASE_URL", 0.0)  # never the address: it holds a password


def _one_at_a_time(say: Say) -> Say:
    """Lets two threads say things without talking over each other."""
    lock = threading.Lock()

    def said(text: str, seconds: float) -> None:
        with lock:
            say(text, seconds)

    return said
