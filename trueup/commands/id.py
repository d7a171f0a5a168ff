"""`trueup id`."""

from trueup.printing import print_line
from trueup.surroundings import tenant_here


def command(name: str) -> None:
    """Prints the UUID that the policy gives the name, or else the one made of it."""
    print_line(tenant_here(name))
