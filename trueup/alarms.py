"""Which streams are miscalibrated: their alarms, and the flags that many streams may share.

An alarm is of one stream. Of many streams some raise one by chance alone; of flags by e-BH at most
one in ten is false on average, at one look over those streams. A flag that stays up once it was
raised takes the greatest evidence there has been, at a price.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agents_topics.calibration import CalibrationAlarm, StreamCalibration
from tables.evidence_odds import NANO, evidence_odds
from tables.flags import FALSE_SHARE, flagged, sticky_log_evidence
from tables.stream import Stream, stream_of
from trueup.curve_words import stream_words
from trueup.plain_text import counted, duration, utc_s


@dataclass(frozen=True, slots=True)
class Flags:
    """The streams that are flagged among `count`: now, and since any time."""

    count: int
    current: list[Stream]
    sticky: list[Stream]


def flags_of(streams: Sequence[StreamCalibration]) -> Flags:
    """The flags over streams that have a lead record, all at one look."""
    tested = [one for one in streams if one.n]
    current = flagged([one.log_evidence_nanos / NANO for one in tested])
    peaks = [sticky_log_evidence(max(one.peak_log_evidence_nanos, 0) / NANO) for one in tested]
    return Flags(
        len(tested),
        [stream_of(tested[index]) for index in current],
        [stream_of(tested[index]) for index in flagged(peaks)],
    )


def alarm_lines(alarms: Sequence[CalibrationAlarm], names: dict[str, str]) -> Iterator[str]:
    """Each alarm in two lines; tenants by their names."""
    for alarm in alarms:
        state = "open" if alarm.closed_at_ms is None else f"closed by {_CLOSED[alarm.closed_by]}"
        since = alarm.closed_at_ms
        lasted = f" after {duration(since - alarm.opened_at_ms)}" if since is not None else ""
        tenant = names.get(alarm.tenant_id, alarm.tenant_id)
        yield f"{tenant}: {stream_words(_stream_of(alarm))}, alarm {alarm.number}, {state}{lasted}"
        yield f"  {utc_s(alarm.opened_at_ms)}: {_meaning(alarm)}"


_CLOSED = {
    "agent version": "a new version of the agent",
    "policy": "a new policy",
    "person": "a person",
    None: "",
}


def _meaning(alarm: CalibrationAlarm) -> str:
    shape = f", {alarm.shape}" if alarm.shape else ""
    return (
        f"{alarm.direction} on average, {alarm.direction_at_threshold} at the threshold{shape};"
        f" evidence {evidence_odds(alarm.log_evidence_nanos)} after {alarm.n:,} settled actions"
    )


def flag_lines(
    flags: Flags, streams: Sequence[StreamCalibration], names: dict[str, str], of_whom: str
) -> Iterator[str]:
    """What is flagged among a tenant's or the fleet's streams."""
    total = counted(flags.count, "stream")
    if not flags.current and not flags.sticky:
        yield f"flagged among {total} of {of_whom}: none"
        return
    yield (
        f"flagged among {total} of {of_whom}: {len(flags.current)} now, of which at most"
        f" {100 * FALSE_SHARE:.0f} % false on average; {len(flags.sticky)} at any time"
    )
    by_stream = {stream_of(one): one for one in streams}
    for stream in dict.fromkeys([*flags.current, *flags.sticky]):
        one, when = by_stream[stream], _when(stream, flags)
        yield (
            f"  {names.get(stream.tenant_id, stream.tenant_id)}: {stream_words(stream)}, {when},"
            f" evidence {evidence_odds(one.log_evidence_nanos)},"
            f" at most {evidence_odds(one.peak_log_evidence_nanos)}"
        )


def _when(stream: Stream, flags: Flags) -> str:
    if stream not in flags.sticky:
        return "now"
    return "now and for good" if stream in flags.current else "once"


def alarms_json(
    alarms: Sequence[CalibrationAlarm], of_tenant: Flags | None, of_fleet: Flags
) -> dict[str, Any]:
    """The same in plain values."""
    return {
        "alarms": [asdict(alarm) for alarm in alarms],
        "flags": {
            "tenant": of_tenant and _flags_json(of_tenant),
            "fleet": _flags_json(of_fleet),
        },
    }


def _flags_json(flags: Flags) -> dict[str, Any]:
    return {
        "streams": flags.count,
        "false_share": FALSE_SHARE,
        "current": [stream._asdict() for stream in flags.current],
        "sticky": [stream._asdict() for stream in flags.sticky],
    }


def _stream_of(alarm: CalibrationAlarm) -> Stream:
    return Stream(*(getattr(alarm, name) for name in Stream._fields))
