"""Ports of 127.0.0.1: free ones, or the one that was asked for.

Chosen below the range from which systems take the ports of outgoing connections: a client that
keeps knocking while a server restarts could otherwise be given that very port, connect to itself
and keep the server out.
"""

from __future__ import annotations

import random
import socket

from trueup.embedded.problems import EnvironmentProblem

LOOPBACK = "127.0.0.1"
CHOICES = range(20_000, 32_000)
TRIES_MAX = 200


def is_free(port: int) -> bool:
    """Whether a server could listen there right now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(avoid: frozenset[int] = frozenset()) -> int:
    """A port on which nobody listens; somebody may, a moment later: be ready to choose anew."""
    numbers = random.SystemRandom()
    for _ in range(TRIES_MAX):
        port = numbers.choice(CHOICES)
        if port not in avoid and is_free(port):
            return port
    raise EnvironmentProblem(
        f"No free port of {LOOPBACK} was found between {CHOICES.start} and {CHOICES.stop}.",
        "End some of the servers on this machine.",
    )


def asked_port(port: int, server: str) -> int:
    """The port that was asked for.

    Raises:
        EnvironmentProblem: Somebody else listens there, or we may not.
    """
    if not is_free(port):
        raise EnvironmentProblem(
            f"Port {port} of {LOOPBACK}, asked for {server}, is taken.",
            "Ask for another port, or for none: a free one is chosen then.",
        )
    return port
