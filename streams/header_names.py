"""Records whose header names are not UTF-8, which Kafka does not forbid.

aiokafka raises at one (0.14): nothing of its partition is ever read again, and what was fetched
before it is lost. Here it is read as Java's clients read it, with U+FFFD for what is no UTF-8. What
goes well is read as before; only where it fails the batches are read anew, by slower code.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record import memory_records
from aiokafka.record.default_records import _DefaultRecordBatchPy

_MAGIC_OFFSET, _MAGIC_WITH_HEADERS = 16, 2


class _Bytes(bytearray):
    """Text in it is decoded whatever it is; of a batch only the names of headers are text."""

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return _Bytes(found) if isinstance(at, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return bytes(self).decode(encoding, errors)


class _Batch(_DefaultRecordBatchPy):  # type: ignore[misc]
    _buffer: bytearray

    def __iter__(self) -> Iterator[Any]:
        super().__iter__()
        self._buffer = _Bytes(self._buffer)
        return self


class _Batches(memory_records._MemoryRecordsPy):  # type: ignore[misc]
    def next_batch(self, *_: Any) -> Any:
        ahead = self._next_slice
        if ahead is None or ahead[_MAGIC_OFFSET] < _MAGIC_WITH_HEADERS:
            return super().next_batch()
        self._cache_next()
        return _Batch(ahead)


class _Fetched(fetcher.MemoryRecords):  # type: ignore[misc]
    """The batches that were fetched, their bytes at hand, and how many were taken."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data
        self.taken_count = 0

    def next_batch(self) -> Any:
        self.taken_count += 1
        return super().next_batch()

    def again(self) -> _Batches:
        """The batch that was taken last, and those that follow."""
        batches = _Batches(self.data)
        for _ in range(self.taken_count - 1):
            batches.next_batch()
        return batches


class _Records(fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of what was fetched of a partition."""

    _records: Any
    _records_iterator: Iterator[Any]

    def __iter__(self) -> Iterator[Any]:
        """The generator itself: a call a record less."""
        return self._records_iterator

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except UnicodeDecodeError:
            self._records = self._records.again()
            yield from super()._unpack_records()


def read_any_header_name() -> None:
    """Every consumer of this process reads such records from now on."""
    fetcher.MemoryRecords = _Fetched
    fetcher.PartitionRecords = _Records
