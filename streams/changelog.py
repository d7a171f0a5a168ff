"""What a task's changelog holds: rows under byte keys, msgpack values, and its progress under `p`.

The law: state, outputs and places move together. Each transaction writes the changed rows and the
progress that goes with them, so that whoever reads the changelog to its last stable offset has the
state and knows which input it has applied. The format's version stands in the progress.
"""

from dataclasses import dataclass, field

import msgspec

FORMAT = 2
"""With rows of trends (`n/`), which calibrators write. Every earlier one is read: what it lacks
begins with what comes next.
"""
FORMAT_FIRST = 1
"""Resolvers write it still, so that the releases that know no other can go on with their state."""
PROGRESS_KEY = b"p"

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder().decode


BEGIN_ANEW = "stop every worker; `trueup reset` begins anew from the inputs"
REBUILD = (
    "stop every worker, then `trueup rebuild --yes` makes it again from the source topics (without "
    "--yes it only tells)"
)


class StateProblem(Exception):
    """A task's state cannot be used; says why and what to do.

    Args:
        is_lost: Whether its changelog is what lacks, so that it can be made again.
    """

    def __init__(self, text: str, *, is_lost: bool = False) -> None:
        super().__init__(text)
        self.is_lost = is_lost


@dataclass(slots=True)
class Progress:
    """Where a task stands. `offsets` are the next ones to apply, by topic.

    Resolver: `times` by topic {log, pushed, broker, silent_from} in ms, `grace_ms` by topic (empty
    where an earlier release wrote it), `policy` the digests in force, `counts` by "topic/class",
    `label_delays` by action type. Calibrator: `promises` by source.
    `partitions` is how many the state was made for; `begins` the offset of the changelog at which
    a rebuild has begun to write it: no row before that belongs to it.
    """

    offsets: dict[str, int] = field(default_factory=dict)
    times: dict[str, list[int]] = field(default_factory=dict)
    grace_ms: dict[str, int] = field(default_factory=dict)
    first_ms: int | None = None
    first_broker_ms: int | None = None
    policy: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    label_delays: dict[str, tuple[list[int], int]] = field(default_factory=dict)
    promises: dict[int, int] = field(default_factory=dict)
    partitions: int | None = None
    begins: int = 0
    format: int = FORMAT_FIRST


_decode_progress = msgspec.msgpack.Decoder(Progress, strict=False).decode


def progress_of(value: bytes, name: str) -> Progress:
    """The progress of a changelog's `p` record.

    Raises:
        StateProblem: it was written in another format.
    """
    progress = _decode_progress(value)
    if not FORMAT_FIRST <= progress.format <= FORMAT:
        raise StateProblem(
            f"{name}: its state has format {progress.format}, this release reads {FORMAT}: "
            f"run the release that wrote it, or {REBUILD}",
            is_lost=True,
        )
    return progress
