"""Which problem ends a command with which exit code, in one place.

0; 2 usage; 3 environment; 4 bad input; 5 ledger not exact; 130 interrupted. A problem is known here
by its name, so that nothing need be loaded to say that it was not raised; a test holds the names to
the classes.
"""

from agents_topics.denied import denied_in_words

USAGE, ENVIRONMENT, BAD_INPUT, NOT_EXACT, INTERRUPTED = 2, 3, 4, 5, 130

SENTENCES = {
    "trueup.embedded.problems.EnvironmentProblem": ENVIRONMENT,
    "agents_topics.connection.ConnectionProblem": ENVIRONMENT,
    "streams.rights.Denied": ENVIRONMENT,
    "agents_topics.policy.PolicyProblem": BAD_INPUT,
    "streams.problems.WorkerProblem": ENVIRONMENT,
    "sinks.postgres.connect.StatementProblem": BAD_INPUT,
    "trueup.curve.NotKept": BAD_INPUT,
    "sinks.postgres.connect.PostgresProblem": ENVIRONMENT,
    "streams.settings.SettingsProblem": ENVIRONMENT,
    "trueup.replay_plan.ReplayRefused": ENVIRONMENT,
    "trueup.rebuild_plan.RebuildRefused": ENVIRONMENT,
    "trueup.half_copies.RepartitionRefused": ENVIRONMENT,
}
"""Their text is a sentence that says what to do."""

UNREACHABLE = ("aiokafka.errors.KafkaError", "builtins.OSError")
"""What is raised where a server is away; TimeoutError is an OSError."""


def ending_of(problem: BaseException) -> tuple[str, int] | None:
    """The sentence to say and the exit code; None for a bug, which keeps its traceback.

    >>> ending_of(TimeoutError("no answer"))[1], ending_of(ValueError())
    (3, None)
    """
    if isinstance(problem, OSError) and problem.filename is not None:
        return f"{problem.filename}: {problem.strerror}.", ENVIRONMENT
    if denied := denied_in_words(problem):
        return denied, ENVIRONMENT
    for kind in type(problem).__mro__:
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name in SENTENCES:
            return str(problem), SENTENCES[name]
        if name in UNREACHABLE:
            said = str(problem) or "no answer in time"
            if type(problem).__name__ == "KafkaConnectionError":
                from trueup.unreached import reason  # logging: by now it is loaded

                said = f"no Kafka broker answers{reason()}"  # its own words are Python's
            fix = "check KAFKA_BOOTSTRAP and DATABASE_URL, and that the servers run"
            return f"A server cannot be reached: {said}; {fix}.", ENVIRONMENT
    return None
