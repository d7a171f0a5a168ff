"""The command line's answers to what cannot work: one sentence, the fix, an exit code."""

import json

from tests.command_line import run_trueup


def trueup(folder, *arguments, **options):
    return run_trueup(folder, *arguments, settings=options)


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


def test_status_where_nothing_runs_is_one_sentence(tmp_path):
    found = trueup(tmp_path, "status")

    assert found.returncode == 3
    assert found.stderr.startswith("Nothing runs in this folder, and the environment names no serv")
    assert len(found.stderr.splitlines()) == 1


def test_env_names_where_settings_come_from_and_hides_secrets(tmp_path):
    (tmp_path / "url").write_text("postgresql://ada:s3cret@db/trueup")
    own = {
        "KAFKA_SASL_PASSWORD": "s3cret",
        "DATABASE_URL_FILE": "url",
        "TRUEUP_GRACE_S": "60",
        "TRUEUP_PARTITION": "8",
        "TRUEUP_WEB_PORT": "",
        "TRUEUP_MAVEN_MIRROR": "https://ada:s3cret@mirror/maven",
    }

    found = trueup(tmp_path, "env", "--json", **own)

    assert found.returncode == 0
    assert "s3cret" not in found.stdout + found.stderr
    told = json.loads(found.stdout)
    settings = {
        setting["name"]: (setting["value"], setting["source"]) for setting in told["settings"]
    }
    assert settings["TRUEUP_GRACE_S"] == ("60", "environment")
    assert settings["TRUEUP_PARTITIONS"] == ("4", "default")
    assert settings["TRUEUP_WEB_PORT"] == ("6066", "default")
    assert settings["DATABASE_URL"] == ("***", "file url (DATABASE_URL_FILE)")
    assert settings["TRUEUP_MAVEN_MIRROR"] == ("https://ada:***@mirror/maven", "environment")
    assert told["wrong"] == ["TRUEUP_PARTITION is no setting; did you mean TRUEUP_PARTITIONS?"]
    assert told["machine"]["kafka_jars"] > 0


def test_doctor_without_servers_looks_at_the_machine(tmp_path):
    found = trueup(tmp_path, "doctor", TRUEUP_GRACE_S="x", TRUEUP_WEB_PORT="0")

    assert found.returncode == 3
    lines = found.stdout.splitlines()
    assert lines[0].startswith("FAIL  settings: TRUEUP_GRACE_S is 'x'")
    assert any(line.startswith("ok    python: ") for line in lines)
    assert any(line.startswith("-     broker: none is known") for line in lines)
