"""Kafka's classes, archived by the first broker that ends and read by every later Java."""

import os
import subprocess
from pathlib import Path

import pytest

from trueup.embedded.cache import cache_folder
from trueup.embedded.class_archive import ClassArchive
from trueup.embedded.folders import private_folder
from trueup.embedded.java import Java, find_java
from trueup.embedded.kafka import EmbeddedKafka
from trueup.embedded.kafka_jars import fetch_jars, jars_folder

ARCHIVED = b"source: shared objects file (top)"


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    """The jars where no broker has run yet."""
    fetch_jars(cache_folder())
    folder = tmp_path / "jars"
    folder.mkdir()
    for jar in jars_folder(cache_folder()).glob("*.jar"):
        os.link(jar, folder / jar.name)
    return folder


def loaded(java: Java, jars: Path) -> list[bytes]:
    """Where a Java with the archive's options has its classes from, a line each."""
    told = [*ClassArchive(jars, java).use, "-Xlog:class+load", "-cp", f"{jars}/*"]
    done = subprocess.run(
        [java.path, "-XX:+UseSerialGC", *told, "kafka.tools.StorageTool", "random-uuid"],
        capture_output=True,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if b" source: " in line]


def test_a_java_that_was_cut_to_size_makes_no_archive(tmp_path: Path) -> None:
    """Nor does the end of its broker wait for one."""
    java = Java(tmp_path / "runtime" / "bin" / "java", "25.0.2")
    own = tmp_path / "runtime" / "lib" / "server" / "classes.jsa"
    own.parent.mkdir(parents=True)

    without = ClassArchive(tmp_path, java).can_be_made
    own.touch()

    assert not without
    assert ClassArchive(tmp_path, java).can_be_made


def test_the_first_broker_that_ends_leaves_an_archive_and_a_spoilt_one_is_not_used(
    jars: Path, tmp_path: Path
) -> None:
    java = find_java()
    own = subprocess.run([java.path, "-Xshare:on", "-version"], capture_output=True, check=False)
    if own.returncode:
        pytest.skip(f"{java} was cut to size: it makes no archive")
    before = ClassArchive(jars, java).can_be_made, ClassArchive(jars, java).use
    kafka = EmbeddedKafka(private_folder(tmp_path / "kafka"), java, jars, throwaway=True)

    kafka.start()
    kafka.stop()
    found = loaded(java, jars)
    (archive,) = jars.glob("*.jsa")
    archive.chmod(0o600)
    with archive.open("r+b") as spoilt:
        spoilt.seek(archive.stat().st_size // 2)
        spoilt.write(b"spoilt " * 1_000)
    after = loaded(java, jars)

    assert before == (True, [])
    assert not ClassArchive(jars, java).can_be_made
    assert sum(ARCHIVED in line for line in found) > len(found) / 4
    assert after
    assert not any(ARCHIVED in line for line in after)
