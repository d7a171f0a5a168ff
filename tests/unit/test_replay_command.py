"""Where a replay may begin, and in which words it refuses another beginning."""

from pathlib import Path

import pytest

from tests.command_line import run_trueup


@pytest.mark.parametrize("shadow", [(), ("--shadow", "late")])
def test_a_replay_begins_at_a_time_and_says_so_where_an_offset_is_asked_for(
    tmp_path: Path, shadow: tuple[str, ...]
) -> None:
    settings = {"KAFKA_BOOTSTRAP": "127.0.0.1:9", "DATABASE_URL": "postgresql://u@127.0.0.1:9/d"}

    refused = run_trueup(
        tmp_path, "replay", *shadow, "--from", "agent-actions/0=1500", settings=settings
    )
    misspelt = run_trueup(tmp_path, "replay", *shadow, "--from", "yesterday", settings=settings)

    assert refused.returncode == misspelt.returncode == 2
    assert "--from agent-actions/0=1500: a replay reads every source from its" in refused.stderr
    assert "--from T writes the outcomes of actions from T on" in refused.stderr
    assert "no RFC 3339 time" in misspelt.stderr
