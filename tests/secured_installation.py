"""An installation on a secured broker, and commands that its users run with what is printed."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents_topics.identifiers import tenant_id_of
from agents_topics.rights import Right
from tests.command_line import run_trueup
from tests.secured_kafka import SecuredKafka

PARTITIONS = 2
TENANT = tenant_id_of("acme")
CANARY = f"canary-{uuid.uuid4().hex}"
NO_PAGE = "http://127.0.0.1:9"


def trueup(settings: dict[str, str], *words: str) -> Any:
    return run_trueup(".", *words, settings=settings)


def printed(user: str, prefix: str, *commands: str) -> list[Right]:
    """The rights that the command line prints."""
    words = [word for command in commands for word in ("--for", command)]
    done = trueup(
        {"TRUEUP_PREFIX": prefix}, "acls", "--principal", f"User:{user}", *words, "--as", "json"
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {row["principal"] for row in told} == {f"User:{user}"}
    return [
        Right(row["resource"], row["name"], row["operation"], row["pattern"] == "prefixed")
        for row in told
    ]


class Installation:
    """Topics under a prefix of their own, and a user for each purpose."""

    def __init__(self, secured: SecuredKafka, database_url: str, folder: Path) -> None:
        self.secured = secured
        self.prefix = f"live-{uuid.uuid4().hex[:8]}-"
        self.settings = {
            "TRUEUP_PREFIX": self.prefix,
            "TRUEUP_PARTITIONS": str(PARTITIONS),
            "TRUEUP_IDLE_AFTER_S": "3600",
            "TRUEUP_DATA_FOLDER": str(folder),
            "DATABASE_URL": database_url,
        }
        secured.create_topics(self.prefix, PARTITIONS)

    def user(self, name: str, *commands: str) -> dict[str, str]:
        """Somebody who may do what these commands need."""
        name = self.prefix + name
        settings = self.secured.user(name, CANARY) | self.settings
        self.secured.allow(name, printed(name, self.prefix, *commands))
        return settings


def events() -> Iterator[dict[str, Any]]:
    """Eight conversations, half of them answered."""
    for number in range(8):
        about = {"tenant_id": TENANT, "conversation_id": f"c{number}"}
        yield about | {
            "event_id": f"a{number}",
            "action_type": "send_email",
            "predicted_confidence": 0.8,
            "occurred_at": "2026-02-01T09:00:00Z",
        }
        if number % 2:
            yield about | {
                "event_id": f"i{number}",
                "kind": "reply_received",
                "occurred_at": "2026-02-01T10:00:00Z",
            }
