"""Two workers under one instance id: one says so and ends, the other one goes on."""

import asyncio
import time
import uuid

import pytest

from agents_topics.connection import connection_of
from streams.topic_admin import create_topics
from trueup.exits import ENVIRONMENT
from trueup.worker_process import WorkerProcess


@pytest.mark.soak
@pytest.mark.parametrize("is_first_ready", [True, False])
def test_of_two_workers_with_one_instance_id_one_ends_and_says_why(
    kafka_bootstrap, tmp_path, is_first_ready
):
    settings = {
        "KAFKA_BOOTSTRAP": kafka_bootstrap,
        "TRUEUP_AGENTS": "outcome-resolver",
        "TRUEUP_DATA_FOLDER": str(tmp_path),
        "TRUEUP_INSTANCE_ID": "slot-1",
        "TRUEUP_PREFIX": f"twins-{uuid.uuid4().hex[:8]}-",
    }
    asyncio.run(create_topics(connection_of(settings), 4))
    workers = [WorkerProcess(settings, tmp_path / "a.log")]
    deadline_s = time.monotonic() + 240
    try:
        if is_first_ready:
            asyncio.run(workers[0].wait_until_ready())
        workers.append(WorkerProcess(settings, tmp_path / "b.log"))
        while all(worker.process.poll() is None for worker in workers):
            assert time.monotonic() < deadline_s
            time.sleep(0.5)
        ended, other = sorted(workers, key=lambda worker: worker.process.poll() is None)
        asyncio.run(other.wait_until_ready())
        time.sleep(3)
        assert other.process.poll() is None
    finally:
        for worker in workers:
            worker.stop()

    assert ended.process.poll() == ENVIRONMENT
    assert "another worker has TRUEUP_INSTANCE_ID=slot-1" in ended.log_file.read_text()
