"""What property tests try: by default a few examples, the same every time; in a hunt many others.

A hunt is a run with `HUNT_EXAMPLES` in its environment: as many where 100 are usual (`make hunt`).
"""

import os

from hypothesis import settings
from hypothesis.internal.conjecture import providers

USUAL = 100


def examples(count):
    """As many examples, multiplied in a hunt as those of every other test are."""
    return count * settings().max_examples // USUAL


def choose_profile():
    """Test modules that are loaded from now on try the usual examples, or those of a hunt."""
    settings.load_profile("ci")
    if "HUNT_EXAMPLES" in os.environ:
        count = int(os.environ["HUNT_EXAMPLES"])
        settings.register_profile("hunt", settings(), derandomize=False, max_examples=count)
        settings.load_profile("hunt")
    else:
        # Examples hold constants of the modules loaded so far: by these, other tests decided them.
        providers._get_local_constants = providers.Constants
