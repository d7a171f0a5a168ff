"""A small round of validation through real Kafka, workers and Postgres.

Steps are small, so that tasks are ahead of each other and their promises decide what enters when.
"""

import uuid

import numpy as np
import pytest

from benchmarks.kafka_round import play
from benchmarks.kafka_streams import agents, round_of


@pytest.mark.soak
def test_every_stream_is_what_the_core_makes_of_it_in_memory(servers, tmp_path):
    random = np.random.default_rng(2)
    streams = round_of(random, agents(plain=1, follow_up=1, other=1))

    played = play(
        random, streams, servers, tmp_path / f"v{uuid.uuid4().hex[:8]}",
        TRUEUP_STEP_RECORDS_MAX="200",
    )  # fmt: skip

    assert played.different == []
    assert len(played.known) == len(streams)
    assert played.audit["is_exact"], played.audit["differences"]
    assert played.classes == played.sent
    assert min(played.sent[name] for name in ("late", "duplicates")) > 100
    found = {
        one.agent.name: played.known[one.place].alarms[1].direction
        for one in streams
        if played.known[one.place].alarms
    }
    assert found["a -0.6, b 1"] == "over-confident"
    assert found["a +0.5, b 1"] == "under-confident"
