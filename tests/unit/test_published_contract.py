"""The committed schemas and AsyncAPI document: fresh, valid to others' tools, and true."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import jsonschema
import msgspec
import pytest

from agents_topics.__main__ import PAGE, files_of
from agents_topics.codec import Decoded, Decoder, decode_control
from agents_topics.events import (
    Action,
    Clock,
    CloseAlarm,
    Forget,
    Interaction,
    Outcome,
    Promise,
    ThresholdOverride,
)
from agents_topics.examples import EXAMPLES
from agents_topics.identifiers import key_of
from agents_topics.policy_file import load_policy
from agents_topics.schemas import INPUTS, OUTPUTS, name_of
from agents_topics.topics import TOPICS
from tables.calibrator import Calibrator
from tables.outcome_resolver import ACTIONS, INTERACTIONS, OutcomeResolver
from tables.structs import struct_of
from trueup.embedded.cache import cache_folder

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PARSER = ROOT / "tests" / "asyncapi_parser"
EVENTS = (*INPUTS, *OUTPUTS)
HOUR = 3_600_000
START = 1_769_936_400_000


def schema_of(event_type):
    """The committed one."""
    return json.loads((DOCS / f"contract/{name_of(event_type)}.schema.json").read_text("utf-8"))


def asyncapi():
    return json.loads((DOCS / "contract" / "asyncapi.json").read_text("utf-8"))


def errors_of(event_type, document):
    validator = jsonschema.Draft202012Validator(schema_of(event_type))
    return [error.message for error in validator.iter_errors(document)]


def test_what_is_committed_is_what_the_types_say():
    files = files_of((DOCS / PAGE).read_text("utf-8"))

    found = {path: (DOCS / path).read_text("utf-8") for path in files if (DOCS / path).exists()}

    assert found == files, "`python -m agents_topics docs` makes them anew"
    assert {f"contract/{path.name}" for path in (DOCS / "contract").iterdir()} == set(files) - {
        PAGE
    }


@pytest.mark.parametrize("event_type", EVENTS, ids=name_of)
def test_a_schema_is_one_to_its_meta_schema(event_type):
    jsonschema.Draft202012Validator.check_schema(schema_of(event_type))


@pytest.mark.parametrize("event_type", EVENTS, ids=name_of)
def test_every_example_is_what_it_shows(event_type):
    for example in EXAMPLES[event_type].values():
        value = json.dumps(example).encode()

        assert errors_of(event_type, example) == []
        if event_type in (Clock, ThresholdOverride, CloseAlarm, Forget):
            assert isinstance(decode_control(value), event_type)
        elif event_type in INPUTS:
            key = key_of(example["tenant_id"], example["conversation_id"]).encode()
            assert isinstance(Decoder(event_type).decode(key, value), Decoded)
        else:
            event = msgspec.json.decode(value, type=struct_of(event_type), strict=True)
            assert msgspec.json.decode(msgspec.json.encode(event)) == example


def test_a_full_example_leaves_no_field_out():
    for event_type in INPUTS:
        shown = {name for example in EXAMPLES[event_type].values() for name in example}
        assert shown == set(event_type.__dataclass_fields__)


class Record:
    offset, timestamp = 0, START + 1_000 * HOUR


def test_what_the_core_writes_keeps_the_schemas_of_outputs():
    policy = load_policy(None)
    resolver = OutcomeResolver(0, policy, {ACTIONS: HOUR, INTERACTIONS: HOUR})
    steps = []
    for topic, event_type in ((ACTIONS, Action), (INTERACTIONS, Interaction)):
        for number, example in enumerate(EXAMPLES[event_type].values()):
            event = example | {"event_id": f"e{number}"}
            if topic == ACTIONS:
                event |= {"action_id": "e1" if number else "e0"}
            key = key_of(event["tenant_id"], event["conversation_id"]).encode()
            decoded = Decoder(event_type).decode(key, json.dumps(event).encode())
            resolver.admit(topic, [Record], [decoded])
        steps.append(resolver.finish())
    resolver.times.on_clock(START + 900 * HOUR, Record.timestamp)
    steps.append(resolver.finish())
    action = EXAMPLES[Action]["minimal"] | {"event_id": "late"}
    key = key_of(action["tenant_id"], action["conversation_id"]).encode()
    resolver.admit(ACTIONS, [Record], [Decoder(Action).decode(key, json.dumps(action).encode())])
    steps.append(resolver.finish())
    calibrator = Calibrator(1, load_policy(None))
    written = [outcome for step in steps for outcome in step.outcomes]
    for outcome in written:
        if outcome.is_settled:
            calibrator.on_settled(outcome)
    promise = Promise(source=0, until_ms=resolver.settled_ms)
    calibrator.on_promise(promise)
    calibrator.enter()
    updates = [update for _, update in calibrator.finish().updates]
    late = [entry for step in steps for entry in step.late]

    assert {outcome.status for outcome in written} >= {"pending", "positive"}
    assert len(late) == 1
    assert updates
    for event in (*written, promise, *updates, *late):
        document = json.loads(msgspec.json.encode(event))
        kind = Outcome if event in written else type(event)
        assert errors_of(kind, document) == [], document


def test_every_public_topic_is_a_channel_and_every_reference_leads_somewhere():
    document = asyncapi()

    public = {topic.name for topic in TOPICS if "changelog" not in topic.name}
    assert public == set(document["channels"])
    references = list(_strings(document, "$ref"))
    for reference in references:
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    assert len(references) > 40


def test_every_example_of_the_document_keeps_its_own_schema():
    components = asyncapi()["components"]
    for name, message in components["messages"].items():
        schema = {**message["payload"], "components": components}
        validator = jsonschema.Draft7Validator(schema)
        for example in message.get("examples", ()):
            assert [error.message for error in validator.iter_errors(example["payload"])] == []
            emptied = {field: [] for field in example["payload"]}
            assert list(validator.iter_errors(emptied)), name


def _strings(document, name):
    if isinstance(document, dict):
        for key, held in document.items():
            if key == name:
                yield held
            else:
                yield from _strings(held, name)
    elif isinstance(document, list):
        for held in document:
            yield from _strings(held, name)


@pytest.fixture(scope="module")
def parser():
    """The public parser's folder, installed once from its lock file and then kept."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    lock = (PARSER / "package-lock.json").read_bytes()
    name = f"asyncapi-parser-{hashlib.sha256(lock).hexdigest()[:12]}"
    folder = cache_folder() / name
    if not folder.exists():
        made = folder.with_name(f"{name}.{os.getpid()}")
        shutil.copytree(PARSER, made)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        installed = subprocess.run(command, cwd=made, capture_output=True, text=True, check=False)
        if installed.returncode:
            shutil.rmtree(made)
            pytest.skip(f"npm cannot install the parser: {installed.stderr.strip()[-200:]}")
        made.rename(folder)
    shutil.copy(PARSER / "validate.mjs", folder)
    return folder


def parsed(parser, path):
    command = ["node", "validate.mjs", str(path)]
    ran = subprocess.run(command, cwd=parser, capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)


def test_the_public_parser_takes_the_document(parser):
    found = parsed(parser, DOCS / "contract" / "asyncapi.json")

    assert found["errors"] == []
    assert found["version"] == "3.0.0"
    assert set(found["channels"]) == set(asyncapi()["channels"])
    assert set(found["messages"]) == {event.__name__ for event in EVENTS} | {"DeadLetter"}


def test_the_public_parser_refuses_a_document_that_breaks_the_specification(parser, tmp_path):
    broken = asyncapi()
    del broken["channels"]["agent-actions"]["messages"]["Action"]
    broken["operations"]["outcome-resolver-reads-control"]["action"] = "obtain"
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(broken), "utf-8")

    assert len(parsed(parser, path)["errors"]) >= 2


def test_the_document_keeps_the_published_schema_of_asyncapi(parser):
    path = parser / "node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json"
    published = json.loads(path.read_text("utf-8"))

    validator = jsonschema.Draft7Validator(published)

    assert [error.message for error in validator.iter_errors(asyncapi())] == []
