"""What the Kafka client says of a broker that it could not reach, and nothing else it says."""

import logging
from collections.abc import Iterator

import pytest

from trueup import unreached


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(unreached, "_heard", unreached._Heard())
    unreached.listen()
    yield
    logging.getLogger("aiokafka").removeHandler(unreached._heard)


def test_the_last_reason_is_said() -> None:
    log = logging.getLogger("aiokafka")
    before = unreached.reason()
    log.error('Unable connect to "%s:%s": %s', "a", 9092, OSError("no such host"))
    log.warning('Unable to request metadata from "%s:%s": %s', "b", 9092, "closed")

    assert before == ""
    assert unreached.reason() == ": closed"


def test_what_else_it_says_is_no_reason() -> None:
    log = logging.getLogger("aiokafka")
    log.error('Unable connect to "%s:%s": %s', "a", 9092, "closed")
    log.error("Unable to update metadata from %s", [0])
    log.warning("Topic %s is not available: %s", "t", "later")

    assert unreached.reason() == ": closed"
