"""What a worker's process is started with."""

from pathlib import Path

from trueup.worker_process import WorkerProcess


def test_an_address_that_is_given_wins_over_a_file_of_the_users(tmp_path: Path) -> None:
    """The worker would open the file, which is not there, before anything else."""
    inherited = {"PATH": "/usr/bin:/bin", "DATABASE_URL_FILE": str(tmp_path / "missing")}
    given = {"DATABASE_URL": "postgresql://here", "KAFKA_SECURITY_PROTOCOL": "none such"}

    worker = WorkerProcess({**given, "KAFKA_BOOTSTRAP": "x:1"}, tmp_path / "log", inherited)
    worker.process.wait(120)

    said = (tmp_path / "log").read_text(encoding="utf-8")
    assert "KAFKA_SECURITY_PROTOCOL is one of" in said
    assert "DATABASE_URL_FILE" not in said
