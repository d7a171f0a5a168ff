"""`trueup doctor`."""

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated

import typer

from agents_topics.connection import secret_of
from agents_topics.policy_file import load_policy
from streams.settings import Settings, read_settings
from trueup.commands.options import AsJson
from trueup.connecting import connection_here
from trueup.doctor_kafka import kafka
from trueup.doctor_machine import machine
from trueup.doctor_postgres import postgres
from trueup.exits import ENVIRONMENT, ending_of
from trueup.findings import Finding, not_made
from trueup.in_force import wrong_settings
from trueup.printing import print_json, print_line
from trueup.running import adopt_running, names_servers
from trueup.status_page import page_of

MayWrite = Annotated[
    bool,
    typer.Option("--kafka", help="Try transactions and compaction too, in topics it removes."),
]
_NONE = "none is known; `trueup demo` and `trueup up` start one of their own"


def command(kafka: MayWrite = False, as_json: AsJson = False) -> None:
    """One line a check, ok or FAIL, with the fix; nothing is written unless --kafka is given."""
    findings: list[Finding] = []

    def tell(finding: Finding) -> None:
        findings.append(finding)
        if not as_json:
            print_line(str(finding))

    asyncio.run(_look(tell, may_write=kafka))
    failed = sum(finding.word == "FAIL" for finding in findings)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_line(f"{failed} of {len(findings)} checks failed." if failed else "All is well.")
    if failed:
        sys.exit(ENVIRONMENT)


async def _look(tell: Callable[[Finding], None], *, may_write: bool) -> None:
    own = dict(os.environ)
    adopt_running(os.environ)
    wrong = list(wrong_settings(own))
    for sentence in wrong:
        tell(Finding("settings", "FAIL", sentence.rstrip("."), "`trueup env` shows all of them."))
    if any("TRUEUP_" in sentence and "is no setting" not in sentence for sentence in wrong):
        settings = Settings.model_construct()
    else:
        settings = read_settings()
        tell(Finding("settings", "ok", "each can be read"))
    metrics = os.environ.get("TRUEUP_METRICS", "").removesuffix("/metrics")
    page = metrics or f"http://{settings.web_host}:{settings.web_port}"
    answers = page_of(page) is not None
    for finding in machine(settings, needs_embedded=not names_servers(own), worker_answers=answers):
        tell(finding)
    await _kafka(tell, settings, may_write)
    await _postgres(tell)


async def _kafka(tell: Callable[[Finding], None], settings: Settings, may_write: bool) -> None:
    if not os.environ.get("KAFKA_BOOTSTRAP"):
        tell(not_made("broker", _NONE))
        return
    try:
        connection = connection_here()
        policy = load_policy(settings.policy)
        async for finding in kafka(connection, settings, policy, may_write):
            tell(finding)
    except Exception as problem:
        tell(_failed("broker", problem))


async def _postgres(tell: Callable[[Finding], None]) -> None:
    try:
        url = secret_of(os.environ, "DATABASE_URL")
        if url is None:
            tell(not_made("postgres", _NONE))
            return
        for finding in await postgres(url):
            tell(finding)
    except Exception as problem:
        tell(_failed("postgres", problem))


def _failed(name: str, problem: Exception) -> Finding:
    """Where a server does not answer that is the finding; a bug keeps its traceback."""
    ending = ending_of(problem)
    if ending is None:
        raise problem
    return Finding(name, "FAIL", ending[0].rstrip("."))
