"""A broker in memory: logs, transactions whose markers take offsets, fencing, a group's offsets.

Nothing here waits. What a broker does by and by (markers, time-outs) it asks `later` for.
"""

from dataclasses import dataclass, field

from aiokafka import ConsumerRecord
from aiokafka.errors import ProducerFenced

from streams.clients import TRANSACTION_TIMEOUT_MS

MARKER = "marker"


@dataclass(eq=False)
class Transaction:
    """One transaction; `logs` are those it has written to."""

    owner: str
    logs: list = field(default_factory=list)
    offsets: dict = field(default_factory=dict)
    is_committed: bool = False

    def __str__(self):
        logs = sorted({f"{log.topic}[{log.partition}]" for log in self.logs})
        return f"{' '.join(logs)}, offsets {self.offsets}"


@dataclass
class Entry:
    """What stands at an offset: a record or a marker, and the transaction it belongs to."""

    record: object
    transaction: Transaction | None


class Log:
    """One topic-partition."""

    def __init__(self, topic, partition):
        self.topic, self.partition = topic, partition
        self.entries = []
        self.open = {}

    @property
    def stable_end(self):
        """The last stable offset."""
        return min(self.open.values(), default=self.end)

    @property
    def end(self):
        """The high watermark."""
        return len(self.entries)

    def append(self, outs, now_ms, transaction=None):
        """Records at the log's end; returns the first one's offset."""
        first = len(self.entries)
        if transaction is not None and transaction not in self.open:
            self.open[transaction] = first
            transaction.logs.append(self)
        for offset, (key, value, headers) in enumerate(outs, first):
            record = ConsumerRecord(
                self.topic, self.partition, offset, now_ms, 1, key, value, None,
                len(key or b""), len(value or b""), tuple(headers),
            )  # fmt: skip
            self.entries.append(Entry(record, transaction))
        return first

    def mark(self, transaction):
        """The transaction has ended in this log."""
        del self.open[transaction]
        self.entries.append(Entry(MARKER, transaction))

    def read(self, position, records_max=1 << 30):
        """Committed records from a position on, and the position after them."""
        records, end = [], self.stable_end
        while position < end and len(records) < records_max:
            entry = self.entries[position]
            position += 1
            if entry is not None and entry.record is not MARKER:
                transaction = entry.transaction
                if transaction is None or transaction.is_committed:
                    records.append(entry.record)
        return records, position

    def compact(self):
        """Of the stable records of a key the last one stays."""
        kept = {record.key: record.offset for record in self.read(0)[0]}
        for offset in range(self.stable_end):
            entry = self.entries[offset]
            if entry and entry.record is not MARKER and kept.get(entry.record.key) != offset:
                self.entries[offset] = None


@dataclass
class Owner:
    """The producers of one transactional id."""

    epoch: int = 0
    open: Transaction | None = None
    ending_count: int = 0
    """Markers of its last transaction that are not written yet."""


class Kafka:
    """Every log, and who may write in transactions.

    Args:
        now_ms: The clock of a log's leader.
        later: Has something happen after a number of seconds, or after a while of its own.
        on_stable: Told of a log in which there may be more to read.
        tell: Told how transactions end that wrote more than a task's progress.
    """

    def __init__(self, now_ms, later, on_stable, tell):
        self.logs = {}
        self.group_offsets = {}
        self._owners = {}
        self._now_ms, self._later, self._on_stable, self._tell = now_ms, later, on_stable, tell

    @property
    def is_quiet(self):
        """Whether no transaction is under way."""
        return not any(owner.open or owner.ending_count for owner in self._owners.values())

    def log(self, topic, partition):
        """The log of a topic-partition."""
        return self.logs.setdefault((topic, partition), Log(topic, partition))

    def append(self, topic, partition, outs, transaction=None):
        """Records at a log's end; returns the first one's offset and their time."""
        log = self.log(topic, partition)
        now_ms = self._now_ms(topic, partition)
        first = log.append(outs, now_ms, transaction)
        self._on_stable(log)
        return first, now_ms

    def mark(self, log, transaction):
        """The transaction has ended in a log."""
        log.mark(transaction)
        self._on_stable(log)

    # ---- transactional producers; None says: come again, markers are being written ---------------

    def init(self, owner_id):
        """Fences the last producer, ends what it has open; returns the new epoch."""
        owner = self._owners.setdefault(owner_id, Owner())
        if owner.open:
            owner.epoch += 1
            self._end(owner, is_committed=False)
        if owner.ending_count:
            return None
        owner.epoch += 1
        return owner.epoch

    def write(self, owner_id, epoch, topic, partition, outs):
        """Records within the open transaction, which the first of them opens."""
        owner = self._owner(owner_id, epoch)
        if owner.ending_count:
            return None
        return self.append(topic, partition, outs, self._open(owner_id, owner))

    def add_offsets(self, owner_id, epoch, offsets):
        """A group's offsets within the open transaction."""
        owner = self._owner(owner_id, epoch)
        if owner.ending_count:
            return None
        self._open(owner_id, owner).offsets.update(offsets)
        return True

    def commit(self, owner_id, epoch):
        """All that the open transaction holds counts from here, though markers follow."""
        owner = self._owner(owner_id, epoch)
        if owner.open:
            self._end(owner, is_committed=True)
        return True

    def _owner(self, owner_id, epoch):
        owner = self._owners[owner_id]
        if owner.epoch != epoch:
            raise ProducerFenced
        return owner

    def _open(self, owner_id, owner):
        if owner.open is None:
            owner.open = Transaction(owner_id)
            self._later(self._expire, owner, owner.open, seconds=TRANSACTION_TIMEOUT_MS / 1000)
        return owner.open

    def _expire(self, owner, transaction):
        if owner.open is transaction:
            owner.epoch += 1
            self._end(owner, is_committed=False)

    def _end(self, owner, is_committed):
        transaction, owner.open = owner.open, None
        transaction.is_committed = is_committed
        if len(transaction.logs) > 1 or not is_committed:
            end = "commits" if is_committed else "is aborted"
            self._tell(f"{transaction.owner} {end}: {transaction}")
        owner.ending_count = len(transaction.logs) + 1
        for log in transaction.logs:
            self._later(self._mark, owner, log, transaction)
        self._later(self._take_offsets, owner, transaction)

    def _mark(self, owner, log, transaction):
        self.mark(log, transaction)
        owner.ending_count -= 1

    def _take_offsets(self, owner, transaction):
        if transaction.is_committed:
            self.group_offsets.update(transaction.offsets)
        owner.ending_count -= 1
