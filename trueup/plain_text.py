"""Text of strangers, safe on a terminal: nothing that is shown can move the cursor or hide."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = (("day", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000))


def shown(text: str | bytes, length_max: int | None = None) -> str:
    r"""The text with everything unprintable escaped, cut where it is long.

    >>> shown(b"caf\xc3\xa9 \x1b[31m\xff\n")
    'café \\x1b[31m\\xff\\n'
    >>> shown("right to left: \u202e, and so on", 15)
    'right to left: …'
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    cut = text if length_max is None or len(text) <= length_max else text[:length_max] + "…"
    return "".join(one if one.isprintable() else _escaped(one) for one in cut)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def utc(at_ms: int) -> str:
    """A time as people read it; milliseconds only where it has some.

    >>> utc(1767571200000), utc(1767571200042)
    ('2026-01-05 00:00:00 UTC', '2026-01-05 00:00:00.042 UTC')
    """
    try:
        at = _EPOCH + timedelta(milliseconds=at_ms)
    except OverflowError:
        return f"{at_ms} ms after 1970"
    text = f"{at:%Y-%m-%d %H:%M:%S}"
    return f"{text}{f'.{at_ms % 1000:03d}' if at_ms % 1000 else ''} UTC"


def utc_s(at_ms: int) -> str:
    """A time as a story tells it: to the second."""
    return utc(at_ms - at_ms % 1000)


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "interaction"), counted(1200, "interaction")
    ('1 interaction', '1,200 interactions')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(ms: int) -> str:
    """A length of time in its two greatest units.

    >>> [duration(ms) for ms in (7_500_000, 90_061_000, 86_400_000, 2_000, 42, 0)]
    ['2 h 5 min', '1 day 1 h', '1 day', '2 s', '42 ms', '0 s']
    """
    parts, left = [], abs(ms)
    for name, unit in _UNITS:
        count, left = divmod(left, unit)
        if count:
            parts.append(f"{count} {name}{'s' if name == 'day' and count > 1 else ''}")
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts) or (f"{left} ms" if left else "0 s")
