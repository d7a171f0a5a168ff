"""The command line. Exit codes: 0, 2 usage, 3 environment, 4 bad input, 5 ledger not exact, 130."""

import asyncio
import json
import os
import sys
import threading
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from agents_topics.connection import Connection, ConnectionProblem, connection_of, secret_of
from agents_topics.identifiers import tenant_id_of
from agents_topics.policy import Policy, PolicyProblem, load_policy
from agents_topics.topics import TOPICS
from sinks.postgres.connect import PostgresProblem
from sinks.postgres.migrate import migrate as migrate_database
from sinks.postgres.migrate import print_sql, revision_of
from sinks.postgres.queries import run_sql
from streams.app import WorkerProblem, from_environment, run
from streams.settings import Settings
from streams.topic_admin import check_topics, create_topics
from trueup import check as checking
from trueup import emit as emitting
from trueup import try_file as trying
from trueup.commands import dead_letters, explain
from trueup.demo import Demo, summary_as_json
from trueup.embedded.fetch import environment as environment_facts
from trueup.embedded.fetch import fetch as fetch_embedded
from trueup.embedded.folders import private_folder
from trueup.embedded.problems import EnvironmentProblem
from trueup.embedded.servers import servers
from trueup.ledger import audit_database
from trueup.reliability_picture import needs_ascii
from trueup.running import FOLDER, adopt_running, announced, rules_of
from trueup.worker_process import WorkerProcess, end_with_parent

USAGE, ENVIRONMENT, BAD_INPUT, NOT_EXACT, INTERRUPTED = 2, 3, 4, 5, 130

app = typer.Typer(
    help="Can your agents' confidence be trusted?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
topics_app = typer.Typer(help="The topics on the broker.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")
app.add_typer(dead_letters.command, name="dead-letters")
app.command("explain")(explain.command)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
KafkaPort = Annotated[
    int | None, typer.Option(min=1, max=65_535, help="Kafka's port; otherwise a free one.")
]
PostgresPort = Annotated[
    int | None, typer.Option(min=1, max=65_535, help="Postgres's port; otherwise a free one.")
]


def main() -> None:
    """Runs a command; what the environment lacks is one sentence and exit 3, never a traceback."""
    try:
        app()
    except (EnvironmentProblem, ConnectionProblem, WorkerProblem) as problem:
        _fail(str(problem), ENVIRONMENT)
    except ValidationError as problem:
        if problem.title != Settings.__name__:
            raise
        _fail(_wrong_settings(problem), ENVIRONMENT)
    except PolicyProblem as problem:
        _fail(str(problem), BAD_INPUT)
    except PostgresProblem as problem:
        _fail(str(problem), ENVIRONMENT)
    except (KafkaError, OSError, TimeoutError) as problem:
        fix = "check KAFKA_BOOTSTRAP and DATABASE_URL, and that the servers run"
        _fail(f"A server cannot be reached: {problem}; {fix}.", ENVIRONMENT)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _wrong_settings(problem: ValidationError) -> str:
    wrong = (
        f"TRUEUP_{str(error['loc'][0]).upper()} is {error['input']!r}: {error['msg']}."
        for error in problem.errors()
    )
    return " ".join(wrong)


def _fail(text: str, code: int) -> None:
    _print(text, sys.stderr)
    sys.exit(code)


def _print(text: str, stream: Any = None) -> None:
    """Writes a line to a stream of any encoding; a reader that went away is no error."""
    out = stream or sys.stdout
    encoding = out.encoding or "ascii"
    try:
        out.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        out.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


def _print_json(value: Any) -> None:
    _print(json.dumps(value, indent=2, default=str, ensure_ascii=True))


def _connection() -> Connection:
    adopt_running(os.environ)
    return connection_of(os.environ)


def _database_url() -> str:
    adopt_running(os.environ)
    url = secret_of(os.environ, "DATABASE_URL")
    if not url:
        raise EnvironmentProblem(
            "No database is known.",
            "Set DATABASE_URL, or start `trueup demo` or `trueup up` in this folder.",
        )
    return url


def _policy() -> Policy:
    return load_policy(Settings().policy)


@app.command()
def demo(
    once: Annotated[bool, typer.Option(help="End when everything has settled.")] = False,
    as_json: AsJson = False,
    seed: Annotated[int, typer.Option(help="Another seed, another world.")] = 7,
    actions: Annotated[int, typer.Option(min=200, help="How many actions.")] = 6000,
    kafka_port: KafkaPort = None,
    postgres_port: PostgresPort = None,
) -> None:
    """Simulated agents with a known truth, through real Kafka and Postgres."""
    words = sys.stderr if as_json else sys.stdout
    say = partial(_print, stream=words)
    show = _overwriting(words) if words.isatty() else _every(5.0, say)
    summary = Demo(seed, actions, once, say, show, words, kafka_port, postgres_port).run()
    if as_json:
        _print_json(summary_as_json(summary))
    if not summary.ledger_exact:
        sys.exit(NOT_EXACT)


def _overwriting(stream: Any) -> Any:
    def show(text: str) -> None:
        stream.write(f"\r\033[K{text}")
        stream.flush()

    return show


def _every(seconds: float, say: Any) -> Any:
    said_s = 0.0

    def show(text: str) -> None:
        nonlocal said_s
        if time.monotonic() - said_s >= seconds:
            said_s = time.monotonic()
            say(text)

    return show


@app.command()
def up(kafka_port: KafkaPort = None, postgres_port: PostgresPort = None) -> None:
    """Kafka, Postgres and a worker, with their data kept under .trueup; until Ctrl-C."""
    private_folder(FOLDER.absolute())

    def say(text: str, seconds: float) -> None:
        _print(f"{text} ({seconds:.1f} s)")

    with servers(
        FOLDER / "data",
        say=say,
        kafka_port=kafka_port,
        postgres_port=postgres_port,
        prepare=migrate_database,
    ) as running:
        settings = {
            **rules_of(os.environ),
            "KAFKA_BOOTSTRAP": running.kafka_bootstrap,
            "DATABASE_URL": running.database_url,
        }
        asyncio.run(create_topics(connection_of({**os.environ, **settings}), Settings().partitions))
        worker = WorkerProcess(settings, FOLDER / "worker.log")
        try:
            with announced({**settings, "TRUEUP_METRICS": f"{worker.url}/metrics"}):
                asyncio.run(worker.wait_until_ready())
                _print(f"worker, metrics at {worker.url}/metrics; Ctrl-C ends it")
                code = worker.process.wait()
                _fail(f"The worker has ended (exit {code}): {worker.log_file}", ENVIRONMENT)
        finally:
            worker.stop()


@app.command()
def worker() -> None:
    """One worker, until it is told to stop; `faust -A streams.app worker` is the same."""
    adopt_running(os.environ)
    if "TRUEUP_PARENT" in os.environ:
        threading.Thread(target=end_with_parent, daemon=True).start()
    run(from_environment())


@app.command()
def migrate(
    show: Annotated[bool, typer.Option("--print", help="Print the SQL for a DBA.")] = False,
) -> None:
    """Brings the database's schema up to date."""
    if show:
        _print(print_sql())
        return
    url = _database_url()
    migrate_database(url)
    _print(f"The schema is at {asyncio.run(revision_of(url))}.")


@topics_app.command("create")
def topics_create(replication: Annotated[int, typer.Option(min=1)] = 1) -> None:
    """Creates the topics that are missing."""
    created = asyncio.run(create_topics(_connection(), Settings().partitions, replication))
    _print("\n".join(created) if created else "Every topic is there.")


@topics_app.command("check")
def topics_check() -> None:
    """What a worker would stumble over; exit 3 if anything."""
    problems = asyncio.run(check_topics(_connection(), Settings().partitions))
    for problem in problems:
        _print(f"{problem.topic} {problem.reason}")
    if problems:
        sys.exit(ENVIRONMENT)
    _print("Every topic is as it must be.")


@topics_app.command("print")
def topics_print() -> None:
    """The topics as data."""
    _print_json(
        [
            {"name": t.name, "key": t.key, "partitions": Settings().partitions}
            | {"config": t.broker_config()}
            for t in TOPICS
        ]
    )


@app.command()
def emit(
    file: Annotated[str, typer.Argument(help="NDJSON, or - for standard input.")],
    topic: Annotated[str | None, typer.Option(help="Guessed from the fields if absent.")] = None,
    as_json: AsJson = False,
) -> None:
    """Checks events and produces them: of a file all or none; exit 4 names what is bad."""
    connection, policy = _connection(), _policy()

    def report(problem: checking.Problem) -> None:
        _print(str(problem), sys.stderr)

    if file == "-":
        read = partial(os.read, 0, emitting.CHUNK_BYTES)
        emitted = asyncio.run(
            emitting.emit_stream(connection, read, report, topic=topic, policy=policy)
        )
    else:
        path = _readable(file)
        emitted = asyncio.run(
            emitting.emit_file(connection, path, report, topic=topic, policy=policy)
        )
    if as_json:
        _print_json({"sent": dict(emitted.sent), "bad_lines": emitted.bad_lines})
    else:
        for name, count in emitted.sent.items():
            _print(f"{count:,} to {name}")
    if emitted.bad_lines:
        _fail(f"{emitted.bad_lines} bad lines", BAD_INPUT)


def _readable(file: str) -> Path:
    path = Path(file)
    if not path.is_file():
        _fail(f"{file}: there is no such file", USAGE)
    return path


@app.command()
def check(
    file: Annotated[str, typer.Argument(help="NDJSON.")],
    topic: Annotated[str | None, typer.Option()] = None,
    as_json: AsJson = False,
) -> None:
    """Tells a producer line, field and reason before anything is sent; exit 4 if bad."""
    with _readable(file).open("rb") as lines:
        problems = list(checking.check_lines(lines, topic, _policy()))
    if as_json:
        _print_json([asdict(problem) for problem in problems])
    else:
        for problem in problems:
            _print(str(problem))
    if any(not problem.is_warning for problem in problems):
        sys.exit(BAD_INPUT)
    if not as_json:
        _print("Every line can be sent.")


@app.command("try")
def try_file(
    file: Annotated[str, typer.Argument(help="CSV or NDJSON, or - for standard input.")],
    confidence: Annotated[str | None, typer.Option(metavar="COLUMN", help="0 to 1.")] = None,
    outcome: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="1 or 0, true or false, or a status.")
    ] = None,
    at: Annotated[str | None, typer.Option("--time", metavar="COLUMN", help="RFC 3339.")] = None,
    as_json: AsJson = False,
) -> None:
    """Are the confidences in a file right? No server is needed; exit 4 if no row is usable."""
    asked = trying.Asked(confidence, outcome, at)
    answer = trying.answer(file, asked, as_json, needs_ascii(sys.stdout))
    for stream, lines in ((sys.stderr, answer.problems), (sys.stdout, answer.lines)):
        for line in lines:
            _print(line, stream)
    sys.exit(answer.code)


@app.command()
def clock(
    until: Annotated[str, typer.Option(help="RFC 3339, zoned: 2026-03-01T00:00:00Z.")],
) -> None:
    """Lets event time jump to a moment, so that windows before it close."""
    try:
        asyncio.run(emitting.send_clock(_connection(), until, Settings().partitions))
    except ValueError as problem:
        _fail(f"--until {until}: {problem}", USAGE)
    _print(f"Event time goes to {until}.")


@app.command()
def audit(as_json: AsJson = False) -> None:
    """Recomputes outcomes and bins from the topics and names every difference; exit 5 if any."""
    connection, url = _connection(), _database_url()
    settings = Settings()
    report = asyncio.run(
        audit_database(connection, _policy(), url, settings.grace_ms, settings.idle_after_ms)
    )
    if as_json:
        _print_json(report.to_json())
    else:
        _print(str(report))
    if not report.is_exact:
        sys.exit(NOT_EXACT)


@app.command()
def sql(
    statement: str,
    role: Annotated[str | None, typer.Option(help="trueup_operator, trueup_api …")] = None,
    tenant: Annotated[str | None, typer.Option(help="A tenant's name or UUID.")] = None,
    as_json: AsJson = False,
) -> None:
    """Runs one statement in Postgres; no psql is needed."""
    tenant_id = tenant_id_of(tenant) if tenant else None
    answer = asyncio.run(run_sql(_database_url(), statement, role, tenant_id))
    if as_json:
        _print_json([dict(zip(answer.columns, row, strict=True)) for row in answer.rows])
        return
    if answer.columns:
        _print("\t".join(answer.columns))
        for row in answer.rows:
            _print("\t".join("" if value is None else str(value) for value in row))
    else:
        _print(answer.tag)


@app.command()
def env(as_json: AsJson = False) -> None:
    """What this machine offers to the embedded default."""
    facts = environment_facts()
    if as_json:
        _print_json(facts)
        return
    for name, value in facts.items():
        _print(f"{name}: {value}")


@app.command()
def status(as_json: AsJson = False) -> None:
    """What has settled so far, from Postgres."""
    answer = asyncio.run(
        run_sql(
            _database_url(),
            "SELECT outcome_status, is_settled, count(*) FROM tenant.outcome_records"
            " GROUP BY 1, 2 ORDER BY 1, 2",
            as_role="trueup_operator",
        )
    )
    if as_json:
        _print_json([dict(zip(answer.columns, row, strict=True)) for row in answer.rows])
        return
    for name, is_settled, count in answer.rows:
        _print(f"{name}{'' if is_settled else ' (not settled)'}: {count:,}")


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Whether Kafka's topics and Postgres' schema are as a worker needs them; exit 3 if not."""
    found: dict[str, str] = {}
    problems = asyncio.run(check_topics(_connection(), Settings().partitions))
    for problem in problems:
        found[problem.topic] = problem.reason
    revision = asyncio.run(revision_of(_database_url()))
    if revision is None:
        found["database"] = "has no schema: `trueup migrate` makes it"
    if as_json:
        _print_json(found)
    else:
        for name, reason in found.items():
            _print(f"{name} {reason}")
    if found:
        sys.exit(ENVIRONMENT)
    if not as_json:
        _print("Kafka and Postgres are ready for a worker.")


@app.command("id")
def id_of(name: str) -> None:
    """A tenant's UUID for its name."""
    _print(tenant_id_of(name))


@app.command()
def fetch() -> None:
    """Fetches what the embedded default needs, so that later runs need no network."""
    fetch_embedded(lambda text, seconds: _print(f"{text} ({seconds:.1f} s)"))
