"""Which tenants are being forgotten: some sources have said so, others have not come so far.

What a source says of such a tenant before its own word is of a life that it will end; what it says
after it is of a new one.
"""

from typing import Any


class ForgettingTenants:
    """The words of `source_count` sources, kept until all have said the same."""

    def __init__(self, source_count: int) -> None:
        self._source_count = source_count
        self._words: dict[str, dict[str, list[int]]] = {}
        """By tenant and forget record the sources that have forgotten."""
        self._changed: dict[str, None] = {}

    def __contains__(self, tenant_id: str) -> bool:
        return tenant_id in self._words

    def on_word(self, tenant_id: str, forget_id: str, source: int) -> bool:
        """A source has forgotten a tenant; whether it is the first of them."""
        self._changed[tenant_id] = None
        by_id = self._words.setdefault(tenant_id, {})
        is_first = forget_id not in by_id
        said = by_id.setdefault(forget_id, [])
        if source not in said:
            said.append(source)
        if len(said) == self._source_count:
            del by_id[forget_id]
        if not by_id:
            del self._words[tenant_id]
        return is_first

    def is_old(self, tenant_id: str, source: int) -> bool:
        """Whether what a source says of a tenant now is of a life that is about to end."""
        return any(source not in said for said in self._words.get(tenant_id, {}).values())

    def finish(self, changes: dict[bytes, Any]) -> None:
        """Ends a step: logs what has changed."""
        for tenant_id in self._changed:
            changes[b"f/" + tenant_id.encode()] = self._words.get(tenant_id)
        self._changed.clear()

    def restore(self, key: bytes, row: Any) -> None:
        """Takes back a row."""
        self._words[key.removeprefix(b"f/").decode()] = row
