"""Where a key belongs: Kafka's murmur2, one key at a time."""

_MASK = 0xFFFFFFFF
_MIX = 0x5BD1E995


def partition_of(key: bytes, partition_count: int) -> int:
    """The partition of a key.

    >>> [partition_of(key, 2**31 - 1) for key in (b"21", b"foobar", b"a-little-bit-long-string")]
    [1173551340, 1357151166, 1161502112]
    """
    hashed = (0x9747B28C ^ len(key)) & _MASK
    whole = len(key) - len(key) % 4
    for start in range(0, whole, 4):
        word = int.from_bytes(key[start : start + 4], "little") * _MIX & _MASK
        word = (word ^ word >> 24) * _MIX & _MASK
        hashed = hashed * _MIX & _MASK ^ word
    if key[whole:]:
        hashed = (hashed ^ int.from_bytes(key[whole:], "little")) * _MIX & _MASK
    hashed = (hashed ^ hashed >> 13) * _MIX & _MASK
    return ((hashed ^ hashed >> 15) & 0x7FFFFFFF) % partition_count
