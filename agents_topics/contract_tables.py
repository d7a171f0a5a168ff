"""The contract as tables for people: the topics, each input event, and what no schema says."""

from typing import Any

from agents_topics.asyncapi import messages_of
from agents_topics.schemas import INPUTS, UNSAID, name_of, schema_of
from agents_topics.topics import TOPICS

BEGIN = "<!-- made by `python -m agents_topics`: the source is agents_topics/events.py -->"
END = "<!-- end of what is made -->"
_FORMATS = {
    "^[0-9a-f]{8}-": "UUID, lower case with hyphens",
    "^[0-9]{4}-": "RFC 3339 with a zone",
    "^[^\\x00-\\x1f": "no control characters",
}


def tables() -> str:
    """The topics, a section for each input event, and the rules that are in no schema."""
    unsaid = [f"- {rule}" for rule in UNSAID]
    return "\n".join(
        [
            "## Topics",
            "",
            *_topics(),
            "",
            "## Events",
            "",
            *map(_table, INPUTS),
            "### What no schema says",
            "",
            *unsaid,
            "",
        ]
    )


def _topics() -> list[str]:
    rows = []
    for topic in TOPICS:
        if topic.event is None:
            continue
        way = "in" if topic.event in INPUTS else "out"
        carried = ", ".join(
            f"[{event.__name__}](contract/{name_of(event)}.schema.json)"
            for event in messages_of(topic)
        )
        rows.append(f"| `{topic.name}` | {way} | {topic.key} | {carried} |")
    return ["| topic | way | key | carries |", "|---|---|---|---|", *rows]


def page_with_tables(page: str) -> str:
    """A page whose part between the two marks is made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


def _table(event: type[Any]) -> str:
    schema = schema_of(event)
    rows = [
        f"| `{name}`{'' if name in schema['required'] else ' (optional)'} "
        f"| {_limits(field)} | {field['description']} |"
        for name, field in schema["properties"].items()
    ]
    head = ["| field | must be | meaning |", "|---|---|---|"]
    return "\n".join([f"### {event.__name__}", "", schema["description"], "", *head, *rows, ""])


def _limits(field: dict[str, Any]) -> str:
    schema = next((s for s in field.get("anyOf", []) if s.get("type") != "null"), field)
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "object":
        return "JSON object, at most 4,096 bytes"
    if schema["type"] in ("number", "integer"):
        return f"{schema['type']} from {schema['minimum']:,} to {schema['maximum']:,}"
    told = [text for start, text in _FORMATS.items() if schema["pattern"].startswith(start)]
    if "maxLength" in schema:
        least, most = schema.get("minLength", 0), schema["maxLength"]
        told.insert(0, f"text of {least} to {most:,} characters")
    return ", ".join(told)
