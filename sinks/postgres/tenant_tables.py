"""Which tables hold what is known of tenants: the one list of what forgetting and a reset empty.

A test holds it to the schema: a table that is added there and not here fails it.
"""

from sinks.postgres.statements import OF_STREAMS, OUTCOMES, SHADOW_OUTCOMES

OF_CONVERSATIONS = (OUTCOMES.table, SHADOW_OUTCOMES.table, "feedback_entries")
"""Each row is of one conversation."""
COUNTED = tuple(staged.table for staged in OF_STREAMS)
"""What calibrators have counted and decided and take back themselves, and the forecasts of it."""
CORRECTIONS = tuple(staged.corrections.table for staged in OF_STREAMS if staged.corrections)
OF_TENANTS = (
    *OF_CONVERSATIONS,
    "conversation_states",
    *COUNTED,
    "calibration_bins",
    *CORRECTIONS,
)
"""Each row is of one tenant, but for `reader_tenants`, which is no tenant's: who may read it."""
NOT_DERIVED = frozenset(("feedback_entries", "conversation_states"))
"""Those of them that follow from no topic that workers read."""
MADE_AGAIN = (
    *(table for table in OF_TENANTS if table not in NOT_DERIVED),
    "sink_offsets",
    "shadows",
)
"""What a reset empties: it is made again from the inputs, or was made beside that."""
