"""What people decided that still stands, and the commands that say it again elsewhere.

A decision holds from a moment of its own installation, so it cannot be copied: a threshold that is
held stands in the last adjustment of its stream, and a closed alarm in its last alarm.
"""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any

from agents_topics.calibration import CalibrationAlarm, ThresholdAdjustment
from tables.stream import Stream

_stream_of = attrgetter(*Stream._fields)
HELD = ("set", "roll_back")


def commands_of(records: Sequence[object]) -> list[str]:
    """One for each threshold that a person holds, and for each alarm that a person closed last."""
    return [*_of_thresholds(records), *_of_alarms(records)]


def _of_thresholds(records: Iterable[object]) -> Iterator[str]:
    for last in _last([one for one in records if isinstance(one, ThresholdAdjustment)]):
        if last.cause in HELD:
            who, _, why = last.reason.partition(" by ")[2].partition(": ")
            value = f"{last.new_threshold:g}"
            yield _command(("thresholds", "set"), last, (value,), who, why or "held before")


def _of_alarms(records: Iterable[object]) -> Iterator[str]:
    for last in _last([one for one in records if isinstance(one, CalibrationAlarm)]):
        if last.closed_by == "person":
            yield _command(("alarms", "close"), last, (), "", "closed before")


def _last(records: Iterable[Any]) -> list[Any]:
    """Of each stream the one with the greatest number, in the order of streams."""
    last = {_stream_of(one): one for one in sorted(records, key=attrgetter("number"))}
    return [last[stream] for stream in sorted(last)]


def _command(
    words: Iterable[str],
    of: ThresholdAdjustment | CalibrationAlarm,
    more: Iterable[str],
    who: str,
    why: str,
) -> str:
    stream = ("--outcome-type", of.outcome_type, "--source", of.confidence_source)
    by = ("--by", who) if who else ()
    told = (of.tenant_id, of.action_type, *more, *stream, *by, "--because", why)
    return shlex.join(("trueup", *words, *told))
