from __future__ import annotations

import hashlib
import http.server
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trueup.embedded import kafka_jars
from trueup.embedded.kafka_jars import (
    JARS,
    Jar,
    fetch_jars,
    jars_folder,
    maven_mirror,
    missing_jars,
)
from trueup.embedded.problems import EnvironmentProblem

CONTENTS = {"one": b"the first jar", "two": b"the second jar"}


def made_up(name: str) -> Jar:
    content = CONTENTS[name]
    return Jar("org.example", name, "1.0", len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def two_jars(monkeypatch: pytest.MonkeyPatch) -> tuple[Jar, ...]:
    jars = (made_up("one"), made_up("two"))
    monkeypatch.setattr(kafka_jars, "JARS", jars)
    return jars


def honest(jar: Jar, workshop: Path) -> Path:
    path = workshop / jar.name
    path.write_bytes(CONTENTS[jar.artifact])
    return path


def lying(jar: Jar, workshop: Path) -> Path:
    path = honest(jar, workshop)
    path.write_bytes(b"something else")
    return path


def test_the_lock_file_names_each_jar_once_with_a_checksum() -> None:
    assert len({jar.name for jar in JARS}) == len(JARS)
    assert all(len(jar.sha256) == 64 and jar.size > 0 for jar in JARS)


@pytest.mark.usefixtures("two_jars")
def test_a_second_fetch_fetches_nothing(tmp_path: Path) -> None:
    assert fetch_jars(tmp_path, honest) == 2
    assert fetch_jars(tmp_path, lying) == 0


def test_a_jar_that_was_tampered_with_is_fetched_again(
    tmp_path: Path, two_jars: tuple[Jar, ...]
) -> None:
    fetch_jars(tmp_path, honest)
    (jars_folder(tmp_path) / two_jars[0].name).write_bytes(b"the first JAR")

    assert missing_jars(tmp_path) == [two_jars[0]]
    assert fetch_jars(tmp_path, honest) == 1
    assert missing_jars(tmp_path) == []


def test_a_wrong_checksum_is_named_and_nothing_is_kept(
    tmp_path: Path, two_jars: tuple[Jar, ...]
) -> None:
    with pytest.raises(EnvironmentProblem, match=r"one-1\.0\.jar has a wrong checksum") as problem:
        fetch_jars(tmp_path, lambda jar, at: (lying if jar == two_jars[0] else honest)(jar, at))

    assert "TRUEUP_MAVEN_MIRROR" in problem.value.fix
    assert two_jars[0] in missing_jars(tmp_path)
    assert not list(jars_folder(tmp_path).glob(".fetching-*"))


@pytest.mark.usefixtures("two_jars")
def test_two_may_fetch_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(fetch_jars, tmp_path, honest) for _ in range(2)]
        for one in both:
            one.result()

    assert missing_jars(tmp_path) == []


@pytest.mark.usefixtures("two_jars")
def test_an_unreachable_package_host_is_named_with_mirror_proxy_and_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jgo")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TRUEUP_MAVEN_MIRROR", raising=False)

    with pytest.raises(EnvironmentProblem, match="could not be fetched") as problem:
        fetch_jars(tmp_path)

    for way_out in ("HTTPS_PROXY", "TRUEUP_MAVEN_MIRROR", "trueup fetch", "TRUEUP_CACHE"):
        assert way_out in problem.value.fix


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "mirror"
    for name, content in CONTENTS.items():
        jar = folder / "org" / "example" / name / "1.0" / f"{name}-1.0.jar"
        jar.parent.mkdir(parents=True)
        jar.write_bytes(content)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
    shutil.rmtree(folder)


@pytest.mark.usefixtures("two_jars")
def test_a_mirror_of_the_user_is_asked_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: str
) -> None:
    pytest.importorskip("jgo")
    monkeypatch.setenv("TRUEUP_MAVEN_MIRROR", mirror)

    assert fetch_jars(tmp_path / "cache") == 2
    assert missing_jars(tmp_path / "cache") == []


@pytest.mark.parametrize("mirror_of", ["*", "central", "external:*, !here"])
def test_the_mirror_of_mavens_settings_is_honoured(tmp_path: Path, mirror_of: str) -> None:
    settings = tmp_path / ".m2" / "settings.xml"
    settings.parent.mkdir()
    settings.write_text(
        '<settings xmlns="urn:settings"><mirrors><mirror>'
        f"<mirrorOf>{mirror_of}</mirrorOf><url>https://mirror.example/maven/</url>"
        "</mirror></mirrors></settings>"
    )

    assert maven_mirror({"HOME": str(tmp_path)}) == "https://mirror.example/maven"


def test_no_settings_mean_no_mirror(tmp_path: Path) -> None:
    assert maven_mirror({"HOME": str(tmp_path)}) is None


@pytest.mark.usefixtures("two_jars")
def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")

    with pytest.raises(EnvironmentProblem, match="cannot be written") as problem:
        fetch_jars(tmp_path / "cache", honest)

    assert "TRUEUP_CACHE" in problem.value.fix
