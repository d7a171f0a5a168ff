"""A worker's status page, read as a program reads it."""

import json
from functools import cache
from typing import Any
from urllib.error import URLError
from urllib.request import OpenerDirector, ProxyHandler, build_opener

PAGE_S = 5.0


def page_of(address: str) -> dict[str, Any] | None:
    """What the page at `address`/status says; None where there is none."""
    try:
        with _opener().open(f"{address}/status", timeout=PAGE_S) as answer:
            told: dict[str, Any] = json.load(answer)
            return told
    except (URLError, OSError, ValueError):
        return None


@cache
def _opener() -> OpenerDirector:
    """A worker's page is no business of a proxy of the environment.

    Made when it is first needed: from Python 3.14 on it reads every authority of the machine.
    """
    return build_opener(ProxyHandler({}))
