"""`trueup id`."""

from agents_topics.identifiers import tenant_id_of
from agents_topics.policy_file import load_policy
from streams.settings import read_settings
from trueup.printing import print_line


def command(name: str) -> None:
    """Prints the UUID that the policy gives the name, or else the one made of it."""
    tenants = load_policy(read_settings().policy).tenants
    print_line(tenants.get(name) or tenant_id_of(name))
