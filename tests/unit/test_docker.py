"""The docker files, as far as they can be checked without an engine."""

from pathlib import Path

import yaml

DOCKER = Path(__file__).parents[2] / "docker"


def test_every_service_has_an_image_or_is_built():
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]

    assert {"kafka", "postgres", "prometheus", "grafana", "worker"} <= set(services)
    assert all(("image" in one) != ("build" in one) for one in services.values())


def test_the_image_does_not_run_as_root():
    lines = (DOCKER / "Dockerfile").read_text().splitlines()

    assert [line for line in lines if line.startswith("USER")] == ["USER 10001"]


def test_what_is_copied_exists():
    lines = (DOCKER / "Dockerfile").read_text().splitlines()

    for line in lines:
        if line.startswith("COPY") and "--from" not in line:
            for name in line.split()[1:-1]:
                assert (DOCKER.parent / name).exists(), name
