"""How long a newcomer waits: the demo with an empty cache, then with a warm one.

    .venv/bin/python -m benchmarks.demo

Wanted: the first outcome after at most 60 s cold and 15 s warm, the end after 120 s and 45 s. Cold
includes what the packages of Kafka, Java and Postgres take to come over the network.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.recording import circumstances, record


def demo(folder: str, cache: str) -> dict[str, Any]:
    """The seconds of one run of the demo."""
    command = [sys.executable, "-m", "trueup", "demo", "--once", "--json"]
    began_s = time.monotonic()
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "TRUEUP_CACHE": cache},
        stdout=subprocess.PIPE,
        check=True,
    )
    took_s = time.monotonic() - began_s
    summary = json.loads(done.stdout)
    return {
        "first_outcome_s": summary["first_outcome_s"],
        "took_s": round(took_s, 1),
        "ledger_exact": summary["ledger_exact"],
    }


def main() -> None:
    """Measures both and writes them down."""
    with tempfile.TemporaryDirectory() as folder:
        found = {
            **circumstances("demo"),
            "cold": demo(folder, f"{folder}/cache"),
            "warm": demo(folder, f"{folder}/cache"),
        }
    record("demo", found)


if __name__ == "__main__":
    main()
