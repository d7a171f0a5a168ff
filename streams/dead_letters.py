"""Dead letters: the record as it came, with Kafka Connect's headers that say where and why."""

from typing import cast

from aiokafka import ConsumerRecord

from agents_topics import letters
from agents_topics.letters import place_of
from streams.transactions import Out
from tables.resolver_step import Refused

VALUE_BYTES_MAX = 1_000_000
HEADER_BYTES_MAX = 16_384
DETAIL_LENGTH_MAX = 1_000

_OF_THE_KEY = frozenset(("no_key", "key", "wrong_partition"))
_OF_ADMISSION = frozenset(
    (
        "future",
        "unknown_action_type",
        "unknown_outcome_type",
        "unknown_confidence_label",
        "conflict",
        "conversation_full",
    )
)


def dead_letter_of(refused: Refused, agent: str) -> Out:
    """The record to write; an oversize one becomes a pointer to where it stands."""
    record = cast(ConsumerRecord, refused.record)
    value, headers = record.value, list(record.headers)
    size = len(value or b"") + sum(len(k) + len(v or b"") for k, v in headers)
    place = place_of(refused.topic, record.partition, record.offset)
    if len(value or b"") > VALUE_BYTES_MAX or size > VALUE_BYTES_MAX + HEADER_BYTES_MAX:
        value, headers = b"", [(letters.POINTER, place.encode())]
    stage, executing = _at(refused.reason)
    detail = refused.detail[:DETAIL_LENGTH_MAX]
    told = (
        refused.topic,
        str(record.partition),
        str(record.offset),
        agent,
        str(record.partition),
        stage,
        executing,
        refused.reason,
        detail,
        f"{refused.reason}: {detail}\n\tat {executing}({place})",
    )
    headers += [
        (name, text.encode("utf-8", "replace"))
        for name, text in zip(letters.NAMES, told, strict=True)
    ]
    return Out(record.key, value, headers)


def _at(reason: str) -> tuple[str, str]:
    """Connect's stage, and what of ours was at work: names that no import path may change."""
    if reason in _OF_ADMISSION:
        return "TASK_PUT", "trueup.admission"
    return "KEY_CONVERTER" if reason in _OF_THE_KEY else "VALUE_CONVERTER", "trueup.contract"
