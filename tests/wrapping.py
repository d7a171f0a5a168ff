"""Envelopes for records of the tests: CloudEvents and registry prefixes, sound ones and broken."""

from hypothesis import strategies as st

ATTRIBUTES = {"specversion": "1.0", "id": "envelope-1", "source": "/crm", "type": "trueup.event"}
BINARY = tuple((f"ce_{name}", text.encode()) for name, text in ATTRIBUTES.items())
STRUCTURED = (("content-type", b"application/cloudevents+json; charset=utf-8"),)
CONFLUENT = b"\0" + (7).to_bytes(4, "big")
APICURIO = b"\0" + (7).to_bytes(8, "big")


def enveloped(value, **changes):
    """The value of a structured CloudEvent with JSON text as data; None leaves an attribute out."""
    attributes = {name: text for name, text in (ATTRIBUTES | changes).items() if text is not None}
    told = ", ".join(f'"{name}": "{text}"' for name, text in attributes.items())
    return b"{" + told.encode() + b', "data": ' + value + b"}"


_NAMES = st.sampled_from(
    ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "content-type", "traceparent"]
)
_TEXTS = st.sampled_from(
    [
        None, b"", b"1.0", b"0.3", b"x", b"\xff", b"application/json", b"APPLICATION/JSON; a=b",
        b"application/vnd.x+json", b"text/json", b"application/+json", b"application/avro",
        b"application/cloudevents", b"application/cloudevents+json", b"json",
        b"application/a b+json",
        b"application/cloudevents-batch+json", b"Application/CloudEvents+JSON ;a", b"text/json \n",
    ]
)  # fmt: skip
headers = st.one_of(
    st.just(()), st.just(BINARY), st.just(STRUCTURED),
    st.lists(st.tuples(_NAMES, _TEXTS), max_size=3).map(tuple),
    st.lists(st.tuples(_NAMES, _TEXTS), max_size=2).map(lambda more: (*BINARY, *more)),
)  # fmt: skip
"""Headers of a record."""

_ODD = st.sampled_from([None, "", "0.3", "application/json", "application/avro", "x"])
_changes = st.dictionaries(
    st.sampled_from([*ATTRIBUTES, "datacontenttype", "data_base64", "event_id"]), _ODD, max_size=1
)


@st.composite
def wrapped(draw, value):
    """Bytes and headers of a record that holds `value`, mostly wrapped soundly."""
    said, how = draw(headers), draw(st.integers(0, 3))
    if said == STRUCTURED or how == 0:
        value = enveloped(value, **draw(_changes))
    prefix = draw(st.sampled_from([b"", b"", b"", CONFLUENT, APICURIO, b"\0", b"\0\0\0"]))
    return prefix + value, said
