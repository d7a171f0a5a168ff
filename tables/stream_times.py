"""The times of a task's topics: how far event time has come in each, and what has settled.

The law: a topic's time W is the greatest occurred_at seen, each capped at its record's broker
timestamp (`log_ms`), or where silence or a clock record has moved it (`pushed_ms`), whichever is
greater. Lateness `behind` is judged by `log_ms` alone, a function of that log; what pushes time is
judged apart. No clock is read here: the broker's timestamps come in with the records.
"""

from dataclasses import dataclass

NEVER_MS = -(2**62)


@dataclass(slots=True)
class TopicTime:
    """How far one topic has come in one task.

    `broker_ms` is the broker's timestamp of the topic's last record, or of the clock record that
    has moved it since; `silent_from` where W stood when the silence that moves it now was found.
    """

    grace_ms: int
    log_ms: int = NEVER_MS
    pushed_ms: int = NEVER_MS
    broker_ms: int = NEVER_MS
    silent_from_ms: int = NEVER_MS

    @property
    def now_ms(self) -> int:
        """W of this topic."""
        return max(self.log_ms, self.pushed_ms)

    @property
    def closed_ms(self) -> int:
        """No record at or before this time is admitted any more."""
        now_ms = self.now_ms
        return now_ms - self.grace_ms if now_ms > NEVER_MS else NEVER_MS

    def on_any(self, broker_ms: int) -> None:
        """A record came, whatever it is: the topic is not silent."""
        self.broker_ms = broker_ms
        self.silent_from_ms = NEVER_MS

    def push(self, until_ms: int) -> None:
        """The time is at least `until_ms`."""
        if until_ms > self.pushed_ms:
            self.pushed_ms = until_ms

    def on_silence(self, broker_now_ms: int, idle_after_ms: int, start_ms: int) -> bool:
        """A silent topic's time moves at the pace of the broker's clock; whether it moved.

        A topic that never had a record starts at `start_ms`, the smallest time its task has seen.
        """
        if self.silent_from_ms == NEVER_MS:
            self.silent_from_ms = self.now_ms if self.now_ms > NEVER_MS else start_ms
        paced_ms = self.silent_from_ms + broker_now_ms - self.broker_ms - idle_after_ms
        if broker_now_ms - self.broker_ms <= idle_after_ms or paced_ms <= self.now_ms:
            return False
        self.push(paced_ms)
        return True


@dataclass(slots=True)
class StreamTimes:
    """The times of all topics that a task joins."""

    topics: dict[str, TopicTime]
    first_ms: int = NEVER_MS
    first_broker_ms: int = NEVER_MS

    @property
    def settled_ms(self) -> int:
        """Everything with a settle time at or before this is settled: the task's promise."""
        return min(time.closed_ms for time in self.topics.values())

    def on_record(self, topic: TopicTime, at_ms: int, broker_ms: int) -> None:
        """A record that passed the first step of admission was seen in `topic`."""
        capped_ms = at_ms if at_ms < broker_ms else broker_ms
        if self.first_ms == NEVER_MS or capped_ms < self.first_ms:
            self.first_ms = capped_ms
        if self.first_broker_ms == NEVER_MS:
            self.first_broker_ms = broker_ms
        if capped_ms > topic.log_ms:
            topic.log_ms = capped_ms
        topic.broker_ms = broker_ms
        topic.silent_from_ms = NEVER_MS

    def on_clock(self, until_ms: int, broker_ms: int) -> None:
        """A clock record lets every topic's time jump; a silence goes on from there."""
        if self.first_ms == NEVER_MS:
            self.first_ms = until_ms
        for time in self.topics.values():
            if until_ms > time.now_ms:
                time.push(until_ms)
                time.silent_from_ms = until_ms
                time.broker_ms = max(time.broker_ms, broker_ms)

    def on_silence(self, topics: list[str], broker_now_ms: int, idle_after_ms: int) -> bool:
        """The named topics are silent; whether any time moved."""
        if self.first_ms == NEVER_MS:
            return False
        has_moved = False
        for name in topics:
            time = self.topics[name]
            if time.broker_ms == NEVER_MS:
                time.broker_ms = self.first_broker_ms
            if time.broker_ms == NEVER_MS:
                continue
            has_moved |= time.on_silence(broker_now_ms, idle_after_ms, self.first_ms)
        return has_moved
