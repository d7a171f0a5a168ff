"""`trueup id`."""

from agents_topics.identifiers import tenant_id_of
from trueup.printing import print_line


def command(name: str) -> None:
    """Prints the UUID."""
    print_line(tenant_id_of(name))
