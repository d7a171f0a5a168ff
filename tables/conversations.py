"""What is held of all conversations of a partition: until when, and its rows in the changelog.

A settled action is kept while an open one of its conversation began before its end, because it may
still take a signal from it; an interaction while an action at or before it is open or can still
come. What comes and goes within one step leaves no trace in the changelog.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable
from sys import intern
from typing import Any

from tables.outcome_join import Conversation, HeldAction, HeldInteraction
from tables.remembered_ids import MINUTE_MS
from tables.resolver_rows import action_key, action_row, interaction_key, interaction_row
from tables.stream_times import TopicTime


class Conversations:
    """The conversations of one partition.

    Args:
        grace_ms: How far behind its topic's time an action may be.
    """

    def __init__(self, grace_ms: int) -> None:
        self._unmatched_count = 0
        self._grace_ms = grace_ms
        self._held: dict[str, Conversation] = {}
        self._changed: list[HeldAction] = []
        self._new: list[tuple[str, HeldInteraction]] = []
        self._to_prune: dict[str, None] = {}
        self._prune_at: dict[int, dict[str, None]] = defaultdict(dict)

    def of(self, key: str) -> Conversation:
        """The conversation of a key; an empty one where nothing is held."""
        conversation = self._held.get(key)
        if conversation is None:
            key = intern(key)
            conversation = self._held[key] = Conversation(key)
        return conversation

    def drop(self) -> None:
        """Opens the circles of conversations and their actions; nothing is held any more."""
        for conversation in self._held.values():
            conversation.actions.clear()
        self._held.clear()

    def hold(self, conversation: Conversation, held: HeldInteraction) -> None:
        """Keeps an interaction."""
        insort(conversation.interactions, (held.at_ms, held.event_id, held))
        # The first full minute at whose beginning no action at or before it can come any more.
        self._prune_at[(held.at_ms + self._grace_ms) // MINUTE_MS + 1][conversation.key] = None

    def on_new(self, conversation: Conversation, held: HeldInteraction) -> None:
        """An interaction is new, or was matched: it needs a row."""
        self._new.append((conversation.key, held))

    def on_said(self, action: HeldAction) -> None:
        """Something was said of an action: it needs a row."""
        if not action.is_changed:
            action.is_changed = True
            self._changed.append(action)

    def on_settled(self, key: str) -> None:
        """An outcome has settled: something may be forgotten."""
        self._to_prune[key] = None

    def forget(self, is_meant: Callable[[str], bool], changes: dict[bytes, Any]) -> None:
        """Nothing is held of the conversations whose keys are meant."""
        for key in [key for key in self._held if is_meant(key)]:
            conversation = self._held.pop(key)
            for action in conversation.actions.values():
                action.is_dropped = True
                if action.is_logged:
                    changes[action_key(action)] = None
            for _, _, held in conversation.interactions:
                held.is_dropped = True
                if held.is_logged:
                    changes[interaction_key(key, held)] = None

    def relog(self) -> None:
        """Everything that is held needs a row."""
        for conversation in self._held.values():
            for action in conversation.actions.values():
                self.on_said(action)
            for _, _, held in conversation.interactions:
                self.on_new(conversation, held)

    def take_unmatched(self) -> int:
        """How many interactions were forgotten, since this was last asked, that met no action."""
        count, self._unmatched_count = self._unmatched_count, 0
        return count

    def finish(self, actions_time: TopicTime, changes: dict[bytes, Any]) -> None:
        """Ends a step: forgets what can no longer change a result, and logs what has changed."""
        minute_now, closed_ms = actions_time.now_ms // MINUTE_MS, actions_time.closed_ms
        for minute in [m for m in self._prune_at if m <= minute_now]:
            self._to_prune.update(self._prune_at.pop(minute))
        for key in self._to_prune:
            conversation = self._held.get(key)
            if conversation is not None:
                self._prune(conversation, closed_ms, changes)
        self._to_prune.clear()
        self._log(changes)

    def _prune(self, conversation: Conversation, closed_ms: int, changes: dict[bytes, Any]) -> None:
        """Drops interactions and settled actions that no open action needs."""
        actions, interactions = conversation.actions, conversation.interactions
        first_ms = min([a.at_ms for a in actions.values() if a.open_count], default=None)
        for name, action in list(actions.items()):
            if not action.open_count and (first_ms is None or action.end_ms <= first_ms):
                del actions[name]
                action.is_dropped = True
                if action.is_logged:
                    changes[action_key(action)] = None
        if interactions:
            keep_from_ms = closed_ms + 1 if first_ms is None else min(first_ms, closed_ms + 1)
            count = bisect_left(interactions, (keep_from_ms,))
            for _, _, held in interactions[:count]:
                self._unmatched_count += not held.is_matched
                held.is_dropped = True
                if held.is_logged:
                    changes[interaction_key(conversation.key, held)] = None
            del interactions[:count]
        if not actions and not interactions:
            del self._held[conversation.key]

    def _log(self, changes: dict[bytes, Any]) -> None:
        for action in self._changed:
            action.is_changed = False
            if not action.is_dropped:
                action.is_logged = True
                changes[action_key(action)] = action_row(action)
        self._changed.clear()
        for key, held in self._new:
            if not held.is_dropped:
                held.is_logged = True
                changes[interaction_key(key, held)] = interaction_row(key, held)
        self._new.clear()
