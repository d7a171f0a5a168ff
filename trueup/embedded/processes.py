"""Which process something belongs to, told apart from a later one that was given its number."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

PS_S_MAX = 10.0


def started(pid: int) -> str | None:
    """When a process began, in words that no other process with its number ever has.

    None if there is no such process; a zombie has ended. The words may be empty where the system
    does not tell.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return _as_ps_says(pid) if not Path("/proc/self/stat").exists() else None
    # The name in brackets may hold anything; what follows the last bracket is fields 3 and on.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else f"{boot} {fields[18]}"


def is_alive(pid: int, began: str) -> bool:
    """Whether the process that began then still runs; not known for sure counts as yes."""
    now = started(pid)
    return now is not None and (not now or not began or now == began)


def _as_ps_says(pid: int) -> str | None:
    """Where there is no /proc, as on macOS."""
    try:
        done = subprocess.run(
            ["ps", "-o", "state=,lstart=", "-p", str(pid)],
            env={**os.environ, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            timeout=PS_S_MAX,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    state, _, began = done.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else began.strip()
