"""Two workers under one instance id: the group throws one out for the other, over and over.

The broker would tell the older one (FENCED_INSTANCE_ID), but the client's heartbeats do not carry
the instance id, so it only hears that it is not a member, and joins again. What is seen is a member
id that changes again and again, which nothing else brings about.
"""

import time
from collections import deque
from collections.abc import Callable

CHANGES_MAX = 4
WITHIN_S = 300.0


class MembershipWatch:
    """Notes under which member ids a worker was in its group.

    Args:
        now_s: A clock that never goes back.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._member_id = ""
        self._changed_s: deque[float] = deque(maxlen=CHANGES_MAX)

    def is_contested(self, member_id: str) -> bool:
        """Whether the id has changed so often of late that another worker must have it too."""
        if not member_id or member_id == self._member_id:
            return False
        if self._member_id:
            self._changed_s.append(self._now_s())
        self._member_id = member_id
        changes = self._changed_s
        return len(changes) == CHANGES_MAX and changes[-1] - changes[0] < WITHIN_S
