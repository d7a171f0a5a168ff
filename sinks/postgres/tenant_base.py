"""What tables have in common: the schema's base, and columns that several of them share.

A shared column says by its `sort_order` where it stands: the stream's key first, then a table's own
columns, then sums, then what the table adds after them, then the version; a column that came by a
later migration last.
"""

import uuid
from decimal import Decimal

from sqlalchemy import BigInteger, DateTime, MetaData, Numeric, String, Table
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA = "tenant"
TIME = DateTime(timezone=True)
BIG = Numeric(38, 0)
MILLIONTHS = Numeric(14, 6)
"""Exact to the millionth: a threshold or what a map is made of."""
NANO_NATS = Numeric(24, 9)
"""Exact to the nano-nat: the natural logarithm of evidence."""
BIGS = ARRAY(BIG)
COUNTS = ARRAY(BigInteger)

KEY, SUMS, AFTER_SUMS, VERSION, ADDED = -1, 1, 2, 3, 4
"""Where columns stand; a table's own stand at 0."""


class TenantBase(DeclarativeBase):
    """Tables of the schema `tenant`."""

    metadata = MetaData(
        schema=SCHEMA, naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s"}
    )


def table_of(model: type[TenantBase]) -> Table:
    """The table of a model."""
    table = model.__table__
    assert isinstance(table, Table)
    return table


class OfAStream:
    """The key of a stream, the first part of a primary key."""

    tenant_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, sort_order=KEY)
    action_type: Mapped[str] = mapped_column(String(50), primary_key=True, sort_order=KEY)
    outcome_type: Mapped[str] = mapped_column(String(50), primary_key=True, sort_order=KEY)
    window_ms: Mapped[int] = mapped_column(BigInteger, primary_key=True, sort_order=KEY)
    confidence_source: Mapped[str] = mapped_column(String(20), primary_key=True, sort_order=KEY)


class WithSums:
    """Exact sums over records, confidences in millionths; the counts stand with `all` only."""

    n: Mapped[Decimal] = mapped_column(BIG, sort_order=SUMS)
    sp: Mapped[Decimal] = mapped_column(BIG, sort_order=SUMS)
    spp: Mapped[Decimal] = mapped_column(BIG, sort_order=SUMS)
    sy: Mapped[Decimal] = mapped_column(BIG, sort_order=SUMS)
    spy: Mapped[Decimal] = mapped_column(BIG, sort_order=SUMS)
    excluded_n: Mapped[Decimal] = mapped_column(BIG, sort_order=SUMS)
    excluded_sp: Mapped[Decimal] = mapped_column(BIG, sort_order=SUMS)
    excluded_spp: Mapped[Decimal] = mapped_column(BIG, sort_order=SUMS)
    positive_count: Mapped[int | None] = mapped_column(BigInteger, sort_order=SUMS)
    negative_count: Mapped[int | None] = mapped_column(BigInteger, sort_order=SUMS)
    ambiguous_count: Mapped[int | None] = mapped_column(BigInteger, sort_order=SUMS)
    expired_count: Mapped[int | None] = mapped_column(BigInteger, sort_order=SUMS)


class Versioned:
    """A row gives way only to a greater (lineage, output_offset)."""

    lineage: Mapped[int] = mapped_column(sort_order=VERSION)
    output_partition: Mapped[int] = mapped_column(sort_order=VERSION)
    output_offset: Mapped[int] = mapped_column(BigInteger, sort_order=VERSION)
