"""What every benchmark writes down beside its figures: command, commit, machine and its speed."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def circumstances(command: str) -> dict[str, Any]:
    """What a figure is worth nothing without."""
    return {
        "command": f"python -m benchmarks.{command}",
        "commit": commit_now(),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        "sum_range_1000_us": loop_us(),
    }


def record(name: str, result: Mapping[str, Any]) -> None:
    """Writes a result, and shows it."""
    text = json.dumps(result, indent=2)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)


def commit_now() -> str:
    """The commit that is checked out."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def loop_us() -> float:
    """How fast this machine is just now: microseconds of `sum(range(1000))`."""
    began = time.process_time()
    for _ in range(20_000):
        sum(range(1000))
    return round((time.process_time() - began) / 20_000 * 1e6, 1)
