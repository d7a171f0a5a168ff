"""Topics and rights in the words of operators' tools; settings are shown without secrets."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents_topics.connection import ConnectionProblem, connection_of
from agents_topics.rights import COMMANDS, Right, rights_of
from agents_topics.roster import AGENTS, PUBLISHER
from agents_topics.topics import TOPICS
from tests.command_line import run_trueup

CANARY = "canary-41c7b2"
SASL = {
    "KAFKA_BOOTSTRAP": "127.0.0.1:9",
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "ada",
}


def trueup(folder: Path, *words: str, **settings: str) -> Any:
    return run_trueup(folder, *words, settings=settings)


def acls(folder: Path, form: str) -> str:
    done = trueup(
        folder, "acls", "--principal", "User:ada", "--for", "worker", "--for", "doctor-kafka",
        "--as", form, TRUEUP_PREFIX="live-",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def test_rights_are_the_same_in_every_form(tmp_path: Path) -> None:
    as_json = {
        (row["resource"], row["name"], row["pattern"], row["operation"])
        for row in json.loads(acls(tmp_path, "json"))
    }

    shell = set()
    for line in acls(tmp_path, "shell").splitlines():
        words = shlex.split(line)
        assert words[words.index("--allow-principal") + 1] == "User:ada"
        (resource,) = (w for w in ("topic", "group", "transactional-id") if f"--{w}" in words)
        name = words[words.index(f"--{resource}") + 1]
        pattern = words[words.index("--resource-pattern-type") + 1]
        places = [at for at, word in enumerate(words) if word == "--operation"]
        shell |= {(resource, name, pattern, words[at + 1]) for at in places}
    user = yaml.safe_load(acls(tmp_path, "strimzi"))
    strimzi = {
        (
            rule["resource"]["type"].replace("transactionalId", "transactional-id"),
            rule["resource"]["name"],
            rule["resource"]["patternType"].replace("prefix", "prefixed"),
            operation,
        )
        for rule in user["spec"]["authorization"]["acls"]
        for operation in rule["operations"]
    }
    terraform = acls(tmp_path, "terraform")

    assert ("topic", "live-control", "literal", "Read") in as_json
    assert shell == as_json
    assert strimzi == as_json
    assert terraform.count("acl_operation") == len(as_json)


def test_topics_are_the_same_in_every_form(tmp_path: Path) -> None:
    told = {
        form: trueup(tmp_path, "topics", "print", "--as", form, TRUEUP_PREFIX="live-").stdout
        for form in ("json", "shell", "terraform", "strimzi")
    }

    rows = {row["name"]: row["config"] for row in json.loads(told["json"])}
    crds = {
        crd["spec"]["topicName"]: crd["spec"]["config"]
        for crd in yaml.safe_load_all(told["strimzi"])
    }
    shell = {}
    for line in told["shell"].splitlines():
        words = shlex.split(line)
        pairs = [words[at + 1].split("=") for at, word in enumerate(words) if word == "--config"]
        shell[words[words.index("--topic") + 1]] = {key: value for key, value in pairs}
    assert set(rows) == {f"live-{topic.name}" for topic in TOPICS}
    assert crds == rows
    assert shell == rows
    assert all(config["min.insync.replicas"] == "2" for config in rows.values())
    assert set(re.findall(r'name += "(.*)"', told["terraform"])) == set(rows)


def test_a_worker_that_only_publishes_may_write_nothing() -> None:
    rights = rights_of("worker", "", [PUBLISHER])

    assert {right.operation for right in rights} == {"Read", "Describe", "DescribeConfigs"}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_asks_for_what_it_is_not_named_for(command: str) -> None:
    rights = rights_of(command, "live-", AGENTS)

    assert all(right.name.startswith("live-") for right in rights)
    assert len(set(rights)) == len(rights)
    makes = {"topics-create", "doctor-kafka", "demo", "reset", "rebuild", "repartitioned"}
    assert any(right.operation == "Create" for right in rights) == (command in makes)
    reads_only = {"status", "audit", "doctor", "topics-check", "replay", "repartition"}
    assert command not in reads_only or not any(right.operation == "Write" for right in rights)


def test_one_right_is_one_sentence() -> None:
    assert str(Right("group", "trueup", "Read")) == "Read on group trueup"


def test_a_token_provider_is_named_and_made() -> None:
    settings = SASL | {
        "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
        "KAFKA_SASL_TOKEN_PROVIDER": "tests.secured_kafka:TokenProvider",
    }

    options = connection_of(settings).client_options()

    assert type(options["sasl_oauth_token_provider"]).__name__ == "TokenProvider"
    assert "sasl_plain_password" not in options


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"KAFKA_SASL_MECHANISM": "OAUTHBEARER"}, "KAFKA_SASL_TOKEN_PROVIDER is not set"),
        (
            {"KAFKA_SASL_MECHANISM": "OAUTHBEARER", "KAFKA_SASL_TOKEN_PROVIDER": "no.such:thing"},
            "KAFKA_SASL_TOKEN_PROVIDER no.such:thing",
        ),
        (
            {
                "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
                "KAFKA_SASL_TOKEN_PROVIDER": "ast:AST",
            },
            "KAFKA_SASL_TOKEN_PROVIDER ast:AST",
        ),
        ({"KAFKA_SSL_CA_FILE": "/no/such.pem"}, "KAFKA_SSL_CA_FILE /no/such.pem"),
        ({"KAFKA_SSL_CERTIFICATE_FILE": "/no/such.pem"}, "KAFKA_SSL_CERTIFICATE_FILE"),
        ({"KAFKA_SASL_PASSWORD_FILE": "/no/such"}, "KAFKA_SASL_PASSWORD_FILE"),
    ],
)
def test_what_is_wrong_with_a_connection_is_one_sentence(
    changes: dict[str, str], told: str
) -> None:
    with pytest.raises(ConnectionProblem) as problem:
        connection_of(SASL | changes).client_options()

    assert told in str(problem.value)


def test_settings_are_shown_with_their_source_and_without_secrets(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(CANARY)
    secrets = {
        "KAFKA_SASL_PASSWORD": CANARY,
        "KAFKA_SSL_KEY_PASSWORD_FILE": str(file),
        "DATABASE_URL": f"postgresql://ada:{CANARY}@127.0.0.1:9/d?sslmode=verify-full",
    }
    commands = [
        ("config", "show", "--effective"),
        ("config", "show", "--effective", "--json"),
        ("config", "show"),
        ("doctor", "--json"),
        ("status",),
        ("audit",),
        ("worker",),
    ]

    done = {words: trueup(tmp_path, *words, **SASL, **secrets) for words in commands}

    for words, answer in done.items():
        assert CANARY not in answer.stdout + answer.stderr, words
    told = json.loads(done[commands[1]].stdout)["settings"]
    sources = {setting["name"]: (setting["value"], setting["source"]) for setting in told}
    assert sources["KAFKA_SASL_PASSWORD"] == ("***", "environment")
    assert sources["KAFKA_SSL_KEY_PASSWORD"][0] == "***"
    assert sources["TRUEUP_GRACE_S"] == ("3600", "default")
    assert "TRUEUP_GRACE_S" not in done[commands[2]].stdout
