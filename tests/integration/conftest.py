"""The secured broker: one for all tests of a process, each module with an installation on it; and a
worker on the shared servers for a module.
"""

import shutil
from collections.abc import Iterator

import pytest

from sinks.postgres.migrate import migrate
from tests.running_stack import Stack, running_stack
from tests.secured_installation import Installation
from tests.secured_kafka import SecuredKafka, secured_kafka
from trueup.embedded.folders import temporary_home


@pytest.fixture(scope="session")
def secured() -> Iterator[SecuredKafka]:
    home = temporary_home()
    running = secured_kafka(home)
    yield running
    running.broker.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def live(
    secured: SecuredKafka, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Installation:
    migrate(database_url)
    return Installation(secured, database_url, tmp_path_factory.mktemp("live"))


@pytest.fixture(scope="module")
def stack(
    kafka_bootstrap: str, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    with running_stack(kafka_bootstrap, database_url, tmp_path_factory.mktemp("stack")) as made:
        yield made
