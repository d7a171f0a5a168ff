"""What some outcomes add to the sums of streams beyond what others add: exact, row by row."""

from collections.abc import Iterable, Mapping
from typing import Any

from sinks.postgres.calibration_records import FAMILY_OF, Told
from sinks.postgres.row_types import Row
from sinks.postgres.statements import SUMMED, Staged

VERSION = (0, 0, -1)
"""Older than every row of live's publisher."""


def differences(went: Iterable[Told], came: Iterable[Told]) -> dict[str, list[Row]]:
    """By table the rows, in its columns' order, of what differs: `came` less `went`."""
    went_rows, came_rows = _rows_of(went), _rows_of(came)
    return {
        staged.table: _of_table(
            staged, went_rows.get(staged.table, {}), came_rows.get(staged.table, {})
        )
        for staged in SUMMED
    }


def _rows_of(told: Iterable[Told]) -> dict[str, dict[Row, Row]]:
    """By table and key."""
    found: dict[str, dict[Row, Row]] = {}
    for one in told:
        family = FAMILY_OF[type(one)]
        place = len(family.staged.keys)
        for row in family.rows_of(one, VERSION):
            found.setdefault(family.staged.table, {})[row[:place]] = row
    return found


def _of_table(staged: Staged, went: Mapping[Row, Row], came: Mapping[Row, Row]) -> list[Row]:
    corrections = staged.corrections
    assert corrections is not None
    added = (*corrections.sums, *corrections.lists)
    rows = []
    for key in sorted(went.keys() | came.keys()):
        old, new = went.get(key), came.get(key)
        some = new or old or ()
        of_column = {
            name: _less(new and new[place], old and old[place])
            if name in added
            else None
            if name in corrections.following
            else some[place]
            for place, name in enumerate(staged.columns)
        }
        if any(_differs(of_column[name]) for name in added):
            rows.append(tuple(of_column.values()))
    return rows


def _less(new: Any, old: Any) -> Any:
    """`new` less `old`; what only one side has is 0 in the other, what neither counts is None."""
    if isinstance(new, list | tuple) or isinstance(old, list | tuple):
        left, right = list(new or ()), list(old or ())
        size = max(len(left), len(right))
        return [
            int(left[place] if left else 0) - int(right[place] if right else 0)
            for place in range(size)
        ]
    if new is None and old is None:
        return None
    return int(new or 0) - int(old or 0)


def _differs(value: Any) -> bool:
    return any(value) if isinstance(value, list) else bool(value)
