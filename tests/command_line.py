"""The command line as a user's shell runs it, without the settings of whoever runs the tests."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OURS = ("KAFKA_", "DATABASE_URL", "TRUEUP_")


def clean_environment() -> dict[str, str]:
    """The variables of this process that are none of Trueup's."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)}


def run_trueup(
    folder: Path | str,
    *words: str,
    settings: Mapping[str, str] | None = None,
    timeout_s: float = 120,
) -> Any:
    """What `trueup WORDS` did in a folder, with these settings alone."""
    return subprocess.run(
        [sys.executable, "-m", "trueup", *words],
        cwd=folder, env=clean_environment() | dict(settings or {}), capture_output=True, text=True,
        timeout=timeout_s, check=False,
    )  # fmt: skip
