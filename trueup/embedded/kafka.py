"""A real Kafka of one node (KRaft) on 127.0.0.1, which can be stopped, killed and started again.

Its data outlive it: whatever was acknowledged is there after `start` again, on the same port.
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from trueup.embedded.class_archive import ClassArchive
from trueup.embedded.java import Java
from trueup.embedded.kept import Kept, Order
from trueup.embedded.ports import LOOPBACK, asked_port, free_port
from trueup.embedded.problems import EnvironmentProblem

START_S_MAX = 90.0
STOP_S_MAX = 20.0
POLL_S = 0.05
ARCHIVE = "classes.jsa"
PORT_TRIES_MAX = 5

# One small node for one machine.
SETTINGS = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}

auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0

# After kill -9 usable again in 7 s instead of 14 s.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500

# Nothing is forgotten between two visits of a developer, and no transaction hangs for long.
log.retention.ms=-1
offsets.retention.minutes=525600
# As long as its type can say: 24 days.
transactional.id.expiration.ms=2147483647
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
log.cleaner.dedupe.buffer.size=33554432
"""

LOGGING = """
rootLogger.level=INFO
rootLogger.appenderRef.file.ref=file
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName=server.log
appender.file.filePattern=server.log.%i
appender.file.policies.type=SizeBasedTriggeringPolicy
appender.file.policies.size=16MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=2
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=[%d] %p %m (%c)%n
"""

JVM = (
    "-Xms128m",
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",  # no files in /tmp that a kill -9 would leave behind
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "-Djava.io.tmpdir=tmp",
    "-Dlog4j2.configurationFile=log4j2.properties",
)


class EmbeddedKafka:
    """One Kafka in one folder.

    Everything it is told is relative to the folder, so neither a space nor an umlaut in its path
    passes through Java's idea of a locale.

    Args:
        folder: Its own folder, mode 0700, made by the caller.
        port: The port to listen on, or None for a free one, which it then keeps.
        throwaway: Its data may be lost: it is ended by kill -9 and removed with its owner.
        settings: Lines that follow ours and win over them; `{port}` and `{controller_port}` are
            filled in.
    """

    def __init__(
        self,
        folder: Path,
        java: Java,
        jars: Path,
        *,
        port: int | None = None,
        throwaway: bool = False,
        settings: str = "",
        choose_port: Callable[[], int] = free_port,
    ) -> None:
        self.folder = folder
        self.java = java
        self._jars = jars
        self._classes = ClassArchive(jars, java)
        self._is_archiving = False
        self._asked_port = port
        self._throwaway = throwaway
        self._settings = SETTINGS + settings
        self._choose_port = choose_port
        self._kept: Kept | None = None
        self.port = 0

    @property
    def bootstrap(self) -> str:
        """The address clients begin with."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        """The running broker's process."""
        assert self._kept is not None, "Kafka is not running"
        return self._kept.pid

    @property
    def is_running(self) -> bool:
        """Whether the broker's process lives; it may be stopped by SIGSTOP all the same."""
        return self._kept is not None and self._kept.is_running

    def start(self) -> None:
        """Kafka answers and can lead partitions afterwards; formats its storage the first time.

        Raises:
            EnvironmentProblem: The port is taken, the folder is in use, or Kafka refuses; then
                the last lines of its log are part of the sentence.
        """
        assert not self.is_running, "Kafka runs already"
        for _ in range(PORT_TRIES_MAX):
            port = self._asked_port or self._choose_port()
            if self._asked_port is not None:
                asked_port(port, "Kafka")
            self._write_settings(port)
            self._format_once()
            self._is_archiving = self._classes.can_be_made
            kept = self._kept = Kept(self._order())
            self.port = port
            if self._is_ready_in_time(kept):
                self._asked_port = port  # clients know it now: a restart listens there again
                return
            kept.end(signal.SIGKILL, patience_s=STOP_S_MAX)
            if not self._lost_its_port():
                break
        raise self._refusal()

    def stop(self) -> None:
        """Kafka is gone afterwards, in order if its data matter or its classes are archived."""
        if self._throwaway and not (self._is_archiving and self._classes.can_be_made):
            self.kill()
        else:
            self.shut_down()

    def shut_down(self) -> None:
        """Kafka is gone afterwards as by its operator's word, even where its data may be lost."""
        if self._end(signal.SIGTERM) and self._is_archiving:
            self._classes.keep(self.folder / ARCHIVE)

    def kill(self) -> None:
        """Kafka is gone afterwards as after a power cut of the process: kill -9."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> bool:
        """Whether it ended at the signal."""
        if self._kept is None:
            return False
        kept, self._kept = self._kept, None
        return kept.end(number, patience_s=STOP_S_MAX)

    def _write_settings(self, port: int) -> None:
        (self.folder / "tmp").mkdir(exist_ok=True)
        (self.folder / "server.log").unlink(missing_ok=True)
        (self.folder / "log4j2.properties").write_text(LOGGING, encoding="ascii")
        controller_port = free_port(avoid=frozenset({port}))
        for name, data in (("server.properties", "data"), ("format.properties", "data.new")):
            text = self._settings.format(port=port, controller_port=controller_port, data=data)
            (self.folder / name).write_text(text, encoding="ascii")

    def _format_once(self) -> None:
        """Formats beside and renames, so that a kill in between leaves no half-made storage."""
        if (self.folder / "data").exists():
            return
        shutil.rmtree(self.folder / "data.new", ignore_errors=True)
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        done = subprocess.run(
            [
                *self._java_command("kafka.tools.StorageTool"),
                *("format", f"--cluster-id={cluster_id}", "--config=format.properties"),
            ],
            cwd=self.folder,
            env=_java_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stdout + done.stderr).decode(errors="replace").strip()
            raise EnvironmentProblem(
                f"Kafka could not format its storage in {self.folder}: {said[-300:]}",
                "Check the folder and the Java named by `trueup env`.",
            )
        (self.folder / "data.new").rename(self.folder / "data")

    def _order(self) -> Order:
        archiving = self._classes.make(ARCHIVE) if self._is_archiving else ()
        return Order(
            name="Kafka",
            command=[*self._java_command("kafka.Kafka", *archiving), "server.properties"],
            folder=self.folder,
            env=_java_environment(),
            orphan_signal=signal.SIGKILL,
            remove_after=[self.folder] if self._throwaway else [],
            remove_if_empty=[self.folder.parent] if self._throwaway else [],
        )

    def _java_command(self, main: str, *options: str) -> list[str]:
        told = (*JVM, *self._classes.use, *options)
        return [str(self.java.path), *told, "-cp", f"{self._jars}/*", main]

    def _is_ready_in_time(self, kept: Kept) -> bool:
        deadline = time.monotonic() + START_S_MAX
        while time.monotonic() < deadline and kept.is_running:
            if leads(self.port):
                return True
            time.sleep(POLL_S)
        return False

    def _lost_its_port(self) -> bool:
        return "Address already in use" in self._log_text()

    def _log_text(self) -> str:
        paths = (self.folder / "server.log", self.folder / "output.log")
        return "\n".join(path.read_text(errors="replace") for path in paths if path.exists())

    def _refusal(self) -> EnvironmentProblem:
        lines = [
            line for line in self._log_text().splitlines() if "ERROR" in line or "rror:" in line
        ]
        reason = lines[-1][:300] if lines else f"it was not ready after {START_S_MAX:.0f} s"
        return EnvironmentProblem(
            f"Kafka did not start: {reason}.",
            f"Its log is {self.folder / 'server.log'}; or set KAFKA_BOOTSTRAP.",
        )


def _java_environment() -> dict[str, str]:
    """Ours, but paths are UTF-8 to Java even where the user's locale is plain C."""
    return dict(os.environ) | {"LC_ALL": "C.UTF-8"}


def leads(port: int) -> bool:
    """Whether a broker answers there and has joined its own cluster.

    One metadata request, version 1, asking for no topics: the answer begins with its size, our
    number and the count of brokers that are not fenced. A client library would do the same with
    a warning in the log for each try.
    """
    metadata, version, number, no_client, no_topics = 3, 1, 7, -1, 0
    request = struct.pack(">hhihi", metadata, version, number, no_client, no_topics)
    try:
        with socket.create_connection((LOOPBACK, port), timeout=2.0) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as answers:
                head = answers.read(12)
    except OSError:
        return False
    if len(head) < 12:
        return False
    _size, answered, brokers_count = struct.unpack(">iii", head)
    return bool(answered == number and brokers_count >= 1)
