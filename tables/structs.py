"""The contract's events as msgspec structs: the same fields and limits at a fraction of the cost.

The dataclasses of `agents_topics` are the contract, and producers may install them without msgspec.
Where every microsecond counts the same fields are held in a struct that is derived from them, never
written a second time.
"""

import dataclasses
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import annotated_types
import msgspec
from pydantic import JsonValue
from pydantic.fields import FieldInfo

EventType = TypeVar("EventType")

_LIMITS = {
    annotated_types.MinLen: "min_length",
    annotated_types.MaxLen: "max_length",
    annotated_types.Ge: "ge",
    annotated_types.Gt: "gt",
    annotated_types.Le: "le",
    annotated_types.Lt: "lt",
}


@cache
def struct_of(event_type: type[EventType]) -> type[EventType]:
    """A frozen struct with the fields, defaults, lengths and ranges of a dataclass.

    Patterns are left out: who decodes with it checks them.
    """
    hints = get_type_hints(event_type, include_extras=True)
    fields: list[Any] = []
    for field in dataclasses.fields(cast(Any, event_type)):
        default = () if field.default is dataclasses.MISSING else (field.default,)
        fields.append((field.name, _limited(hints[field.name]), *default))
    made = msgspec.defstruct(event_type.__name__, fields, kw_only=True, frozen=True, gc=False)
    return cast(type[EventType], made)


@cache
def written_struct_of(event_type: type[EventType]) -> type[EventType]:
    """A struct with the fields of a dataclass, to be made with all of them in their order."""
    names = [field.name for field in dataclasses.fields(cast(Any, event_type))]
    made = msgspec.defstruct(event_type.__name__, names, frozen=True, gc=False)
    return cast(type[EventType], made)


def _limited(hint: Any) -> Any:
    """The type with pydantic's limits as msgspec's."""
    if hint is JsonValue:
        return Any
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        limits = {
            _LIMITS[type(limit)]: next(iter(dataclasses.asdict(limit).values()))
            for info in args[1:]
            if isinstance(info, FieldInfo)
            for limit in info.metadata
            if type(limit) in _LIMITS
        }
        inner = _limited(args[0])
        return Annotated[inner, msgspec.Meta(**limits)] if limits else inner
    if origin in (Union, UnionType):
        return Union[tuple(_limited(arg) for arg in args)]  # noqa: UP007
    if origin is dict:
        return dict.__class_getitem__((str, _limited(args[1])))
    return hint
