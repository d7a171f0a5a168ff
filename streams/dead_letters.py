"""Dead letters: the record as it came, with Kafka Connect's headers that say where and why."""

from aiokafka import ConsumerRecord

from streams.transactions import Out
from tables.outcome_resolver import Refused

PREFIX = "__connect.errors."
POINTER_HEADER = "trueup.pointer"
VALUE_BYTES_MAX = 1_000_000
HEADER_BYTES_MAX = 16_384
DETAIL_LENGTH_MAX = 1_000


def dead_letter_of(refused: Refused, stage: str) -> Out:
    """The record to write; an oversize one becomes a pointer to where it stands."""
    record = refused.record
    assert isinstance(record, ConsumerRecord)
    value, headers = record.value, list(record.headers)
    size = len(value or b"") + sum(len(k) + len(v or b"") for k, v in headers)
    if len(value or b"") > VALUE_BYTES_MAX or size > VALUE_BYTES_MAX + HEADER_BYTES_MAX:
        place = f"{refused.topic}/{record.partition}/{record.offset}"
        value, headers = b"", [(POINTER_HEADER, place.encode())]
    told = {
        "topic": refused.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "stage": stage,
        "exception.class.name": refused.reason,
        "exception.message": refused.detail[:DETAIL_LENGTH_MAX],
    }
    headers += [(PREFIX + name, text.encode("utf-8", "replace")) for name, text in told.items()]
    return Out(record.key, value, headers)
