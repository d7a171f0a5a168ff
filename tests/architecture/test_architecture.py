"""What the source itself must be: its arrows, its names, its types."""

import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pydantic
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("agents_topics", "tables", "streams", "sinks", "trueup")


def run(*command, **options):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **options)


def test_imports_go_down_only():
    bin_folder = Path(sys.executable).parent

    found = run(str(bin_folder / "lint-imports"), "--no-cache")

    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.slow
def test_types_hold_strictly():
    found = run(sys.executable, "-m", "mypy")

    assert found.returncode == 0, found.stdout


def test_style_holds():
    check = run(sys.executable, "-m", "ruff", "check", ".")
    form = run(sys.executable, "-m", "ruff", "format", "--check", ".")

    assert check.returncode == 0, check.stdout
    assert form.returncode == 0, form.stdout


PYDANTIC = (
    "pydantic",
    "pydantic_core",
    "annotated_types",
    "typing_inspection",
    "typing_extensions",
)
"""pydantic and what it needs itself."""


def test_the_contract_works_where_only_pydantic_is_installed(tmp_path):
    installed = Path(pydantic.__file__).parents[1]
    for name in PYDANTIC:
        (found,) = [path for path in (installed / name, installed / f"{name}.py") if path.exists()]
        (tmp_path / found.name).symlink_to(found)
    (tmp_path / "agents_topics").symlink_to(ROOT / "agents_topics")
    modules = sorted(path.stem for path in (ROOT / "agents_topics").glob("[!_]*.py"))
    code = f"""
import importlib, json, sys
sys.path.append({str(tmp_path)!r})
assert not any("site-packages" in path for path in sys.path), sys.path
for name in {modules}:
    importlib.import_module("agents_topics." + name)
from agents_topics import codec, events, examples, identifiers
event = examples.EXAMPLES[events.Action]["full"]
key = identifiers.key_of(event["tenant_id"], event["conversation_id"]).encode()
print(type(codec.Decoder(events.Action).decode(key, json.dumps(event).encode())).__name__)
"""
    folder = tmp_path / "made"

    decoded = run(sys.executable, "-I", "-S", "-c", code)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    made = run(sys.executable, "-S", "-m", "agents_topics", str(folder), env=environment)

    assert decoded.stdout == "Decoded\n", decoded.stderr
    assert (folder / "contract" / "asyncapi.json").exists(), made.stderr


def test_nobody_else_owns_our_names():
    owners = packages_distributions()

    for package in PACKAGES:
        assert set(owners.get(package, ["trueup"])) == {"trueup"}, package


def test_docker_is_no_package():
    assert not (ROOT / "docker" / "__init__.py").exists()


def test_no_vague_module_names():
    vague = {"utils", "helpers", "common", "base", "manager"}

    modules = {path.stem for package in PACKAGES for path in (ROOT / package).rglob("*.py")}

    assert not modules & vague
