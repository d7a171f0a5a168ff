"""How commands are found, what they load, and how they end."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer

import trueup.commands
from trueup.cli import COMMANDS, command_line
from trueup.exits import BAD_INPUT, ENVIRONMENT, SENTENCES, UNREACHABLE, ending_of

HEAVY = {
    "faust",
    "mode",
    "aiokafka",
    "sqlalchemy",
    "alembic",
    "asyncpg",
    "numpy",
    "aiohttp",
    "rich",
}
NOT_OF_A_WORKER = {"sqlalchemy", "alembic", "pydantic_settings"}
PROBE = """
import sys
from trueup.cli import main
try:
    main()
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""
EVENT = (
    '{"event_id": "e1", "tenant_id": "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5", "conversation_id":'
    ' "c1", "action_type": "send_email", "predicted_confidence": 0.82,'
    ' "occurred_at": "2026-02-01T09:00:00Z"}\n'
)


def loaded(folder: Path, *words: str) -> set[str]:
    """The packages that a command has loaded when it ends well."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words],
        cwd=folder, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["id", "acme"],
        ["check", "events.ndjson"],
        ["demo", "--help"],
        ["topics", "--help"],
    ],
    ids=" ".join,
)
def test_a_light_command_loads_nothing_heavy(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "events.ndjson").write_text(EVENT)
    own = {"demo": HEAVY - {"faust", "mode", "numpy"}, "topics": {"aiokafka"}}

    assert not loaded(tmp_path, *words) & (HEAVY - own.get(words[0], set()))


def test_a_workers_start_loads_no_orm_and_no_migrations() -> None:
    code = "import sys, trueup.commands.worker; print(*{m.partition('.')[0] for m in sys.modules})"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "faust" in done.stdout.split()
    assert not set(done.stdout.split()) & NOT_OF_A_WORKER


def test_every_module_of_a_command_is_in_the_list_and_has_one() -> None:
    (folder,) = trueup.commands.__path__
    modules = {path.stem for path in Path(folder).glob("*.py")} - {"__init__", "options"}

    assert set(COMMANDS) == {module.removesuffix("_").replace("_", "-") for module in modules}
    for name in modules:
        command = import_module(f"trueup.commands.{name}").command
        assert isinstance(command, typer.Typer) or command.__doc__


def test_only_the_called_command_has_its_options() -> None:
    app = command_line(["clock", "--until", "2026-03-01T00:00:00Z"])

    own = {info.name: info.callback for info in app.registered_commands}
    assert own["clock"] is import_module("trueup.commands.clock").command
    assert own["demo"] is own["emit"]


@pytest.mark.parametrize("name", [*SENTENCES, *UNREACHABLE])
def test_the_problems_that_end_a_command_are_classes_of_that_name(name: str) -> None:
    module, _, kind = name.rpartition(".")

    assert issubclass(getattr(import_module(module), kind), Exception)


def test_what_is_raised_has_its_exit_code_and_a_bug_has_none() -> None:
    from_name = {name: import_module(name.rpartition(".")[0]) for name in SENTENCES}
    policy = from_name["agents_topics.policy.PolicyProblem"].PolicyProblem("policy.toml: bad")
    kafka = import_module("aiokafka.errors").KafkaConnectionError("Unable to bootstrap")

    assert ending_of(policy) == ("policy.toml: bad", BAD_INPUT)
    assert ending_of(FileNotFoundError(2, "No such file", "f")) == ("f: No such file.", ENVIRONMENT)
    told = ending_of(kafka)
    assert told is not None
    assert "no Kafka broker answers" in told[0]
    assert ending_of(KeyError("x")) is None
