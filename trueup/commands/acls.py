"""`trueup acls`."""

import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Annotated

import typer

from agents_topics.rights import COMMANDS, DEMO, Right, least, rights_of
from streams.settings import read_settings
from trueup.commands.options import Form, Printed
from trueup.exits import USAGE
from trueup.printing import fail, print_json, print_line
from trueup.running import adopt_running

_KINDS = {"topic": "Topic", "group": "Group", "transactional-id": "TransactionalID"}
_STRIMZI = {"topic": "topic", "group": "group", "transactional-id": "transactionalId"}


def command(
    principal: Annotated[str, typer.Option(help="As the broker knows it: User:NAME.")],
    for_: Annotated[
        list[str] | None,
        typer.Option("--for", metavar="COMMAND", help=f"Again for more: {', '.join(COMMANDS)}."),
    ] = None,
    form: Printed = Form.SHELL,
    cluster: Annotated[str, typer.Option(help="Strimzi's name of the cluster.")] = "kafka",
) -> None:
    """From the topics and agents, with the prefix; nothing is changed on the broker."""
    adopt_running(os.environ)
    settings, prefix = read_settings(), os.environ.get("TRUEUP_PREFIX", "")
    rights: list[Right] = []
    for name in for_ or ["worker"]:
        if name not in COMMANDS:
            fail(f"--for {name}: it is one of {', '.join(COMMANDS)}", USAGE)
        # A demo's topics begin with its own name, whatever the prefix of others is.
        own = "" if name == DEMO.rstrip("-") else prefix
        rights += rights_of(name, own, settings.rows)
    kind, colon, user = principal.partition(":")
    if not (kind and colon and user):
        fail(f"--principal {principal}: it is a kind and a name, like User:trueup", USAGE)
    wanted = least(rights)
    match form:
        case Form.JSON:
            print_json([_as_data(right, principal) for right in wanted])
        case Form.SHELL:
            print_line("\n".join(_shell(wanted, principal)))
        case Form.TERRAFORM:
            print_line("\n".join(_terraform(wanted, principal)))
        case Form.STRIMZI:
            print_line("\n".join(_strimzi(wanted, user, cluster)))


def _as_data(right: Right, principal: str) -> dict[str, str]:
    return {
        "principal": principal,
        "resource": right.resource,
        "name": right.name,
        "pattern": "prefixed" if right.is_prefix else "literal",
        "operation": right.operation,
    }


def _by_resource(rights: Sequence[Right]) -> Iterator[tuple[Right, list[str]]]:
    """Each resource once, with all operations."""
    for _, group in groupby(rights, key=lambda r: (r.resource, r.name, r.is_prefix)):
        those = list(group)
        yield those[0], [right.operation for right in those]


def _shell(rights: Sequence[Right], principal: str) -> Iterator[str]:
    for right, operations in _by_resource(rights):
        told = " ".join(f"--operation {operation}" for operation in operations)
        pattern = "prefixed" if right.is_prefix else "literal"
        yield (
            'kafka-acls --bootstrap-server "$KAFKA_BOOTSTRAP" --command-config admin.properties '
            f"--add --allow-principal '{principal}' {told} --{right.resource} '{right.name}' "
            f"--resource-pattern-type {pattern}"
        )


def _terraform(rights: Sequence[Right], principal: str) -> Iterator[str]:
    """For the provider Mongey/kafka."""
    for number, right in enumerate(rights):
        yield f'resource "kafka_acl" "trueup_{number}" {{'
        yield f'  resource_name                = "{right.name}"'
        yield f'  resource_type                = "{_KINDS[right.resource]}"'
        pattern = "Prefixed" if right.is_prefix else "Literal"
        yield f'  resource_pattern_type_filter = "{pattern}"'
        yield f'  acl_principal                = "{principal}"'
        yield '  acl_host                     = "*"'
        yield f'  acl_operation                = "{right.operation}"'
        yield '  acl_permission_type          = "Allow"'
        yield "}"


def _strimzi(rights: Sequence[Right], user: str, cluster: str) -> Iterator[str]:
    """A KafkaUser; how it authenticates is for its owner to say."""
    yield "apiVersion: kafka.strimzi.io/v1beta2"
    yield "kind: KafkaUser"
    yield "metadata:"
    yield f'  name: "{user}"'
    yield "  labels:"
    yield f'    strimzi.io/cluster: "{cluster}"'
    yield "spec:"
    yield "  authorization:"
    yield "    type: simple"
    yield "    acls:"
    for right, operations in _by_resource(rights):
        yield "      - resource:"
        yield f"          type: {_STRIMZI[right.resource]}"
        yield f'          name: "{right.name}"'
        yield f"          patternType: {'prefix' if right.is_prefix else 'literal'}"
        yield f"        operations: [{', '.join(operations)}]"
