"""What the topic `outcomes` has told, and at which place: settled outcomes, and ends of lives.

The publisher follows that topic, so that where it stood says which rows Postgres had.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from trueup.audit.forgetting import Lives, Name, ended
from trueup.audit.reading import Logs

Place = tuple[str, int]
"""A topic-partition by its name on the broker, and an offset of it."""


@dataclass(slots=True)
class Told:
    """Places by what is told there.

    Args:
        settled: By name, under the key of its life.
        lives: Where the end of a life is told, by its number.
        tenants: Of whole tenants who was forgotten, and where.
    """

    settled: dict[Name, Place] = field(default_factory=dict)
    lives: dict[int, Place] = field(default_factory=dict)
    tenants: list[tuple[str, Place]] = field(default_factory=list)


def told_in(logs: Logs, lives: Lives) -> Told:
    """All of it; a record that fits no entry is left to `compare_topic`."""
    told = Told()
    for partition, log in logs.items():
        left = lives.numbered(partition)
        names: dict[Name, Place] = {}
        for record in log.records:
            event, place = json.loads(record.value), (f"{record.topic}/{partition}", record.offset)
            if "forget_id" not in event:
                if event["is_settled"]:
                    names[_name_of(event)] = place
            elif left:
                number, entry = left.pop(0)
                names = {ended(name, entry, number): at for name, at in names.items()}
                told.lives[number] = place
                if entry.forget.conversation_id is None:
                    told.tenants.append((entry.forget.tenant_id, place))
        told.settled |= names
    return told


def _name_of(event: Mapping[str, str]) -> Name:
    key = f"{event['tenant_id']}/{event['conversation_id']}"
    return key, event["action_id"], event["outcome_type"]
