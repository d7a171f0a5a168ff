"""The command line's answers to what cannot work: one sentence, the fix, an exit code."""

import subprocess
import sys


def trueup(folder, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "trueup", *arguments],
        cwd=folder, env={"PATH": "/usr/bin:/bin", **options}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def test_an_id_is_the_same_everywhere(tmp_path):
    assert trueup(tmp_path, "id", "acme").stdout == "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5\n"


def test_without_a_broker_a_command_says_what_to_set(tmp_path):
    found = trueup(tmp_path, "topics", "check")

    assert found.returncode == 3
    assert "KAFKA_BOOTSTRAP" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_broker_that_is_not_there_is_one_sentence(tmp_path):
    found = trueup(tmp_path, "topics", "check", KAFKA_BOOTSTRAP="127.0.0.1:9")

    assert found.returncode == 3
    assert "Traceback" not in found.stderr


def test_a_setting_that_is_no_number_is_one_sentence(tmp_path):
    found = trueup(tmp_path, "topics", "print", TRUEUP_PARTITIONS="many")

    assert found.returncode == 3
    assert found.stderr.startswith("TRUEUP_PARTITIONS is 'many': ")
    assert "Traceback" not in found.stderr


def test_a_bad_policy_names_file_and_reason(tmp_path):
    (tmp_path / "policy.toml").write_text("[[version]]\n")
    (tmp_path / "events.ndjson").write_text("")

    found = trueup(tmp_path, "check", "events.ndjson", TRUEUP_POLICY="policy.toml")

    assert found.returncode == 4
    assert "policy.toml, line 1: the version names no action type" in found.stderr


def test_check_names_line_and_field(tmp_path):
    (tmp_path / "events.ndjson").write_text('{"action_type": "send_email"}\n')

    found = trueup(tmp_path, "check", "events.ndjson")

    assert found.returncode == 4
    assert "event_id" in found.stdout


def test_an_unknown_option_is_a_usage_error(tmp_path):
    assert trueup(tmp_path, "demo", "--fast").returncode == 2


def test_the_sql_for_a_dba_is_printed_without_a_database(tmp_path):
    found = trueup(tmp_path, "migrate", "--print")

    assert found.returncode == 0
    assert "FORCE ROW LEVEL SECURITY" in found.stdout
