"""What a Kafka client's error of authorization is about; by names, so that nothing is loaded."""

_DENIED = {
    "TopicAuthorizationFailedError": "topic",
    "GroupAuthorizationFailedError": "group",
    "TransactionalIdAuthorizationFailed": "transactional-id",
}


def denied_in_words(problem: BaseException, operation: str = "") -> str | None:
    """What a client's error of authorization is about, in one sentence; None for other errors."""
    resource = _DENIED.get(type(problem).__name__)
    if resource is None:
        return None
    operation = {"group": "Read", "transactional-id": "Write"}.get(resource, operation or "access")
    given = problem.args[0] if problem.args else ""
    names = ", ".join(sorted(given)) if isinstance(given, set | frozenset | list) else str(given)
    return (
        f"The broker denies {operation} on {resource} {names}; `trueup acls` prints what to allow."
    )
