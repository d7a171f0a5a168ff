"""`trueup fetch`."""

from trueup.embedded.fetch import fetch
from trueup.printing import print_step


def command() -> None:
    """Java, Kafka's jars, Postgres."""
    fetch(print_step)
