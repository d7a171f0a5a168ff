"""What the source itself must be: its arrows, its names, its types."""

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

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


def test_the_contract_needs_nothing_of_weight_but_pydantic():
    code = (
        "import sys, agents_topics.codec, agents_topics.policy, agents_topics.topics,"
        "agents_topics.roster, agents_topics.connection, agents_topics.identifiers;"
        "print(*{m.partition('.')[0] for m in sys.modules})"
    )

    modules = set(run(sys.executable, "-c", code).stdout.split())

    assert "pydantic" in modules
    assert not modules & {"faust", "aiokafka", "sqlalchemy", "asyncpg", "numpy", "msgspec"}


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
