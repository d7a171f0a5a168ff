"""The demo's acting agents, each with a known truth: how often it succeeds where it states p."""

from dataclasses import dataclass

from agents_topics.identifiers import tenant_id_of
from agents_topics.policy_file import DEFAULT_POLICY_TOML, parse_policy

WELL_CALIBRATED = "well calibrated"
OVER_CONFIDENT = "over-confident"
UNDER_CONFIDENT = "under-confident"

_RULES = parse_policy(DEFAULT_POLICY_TOML).versions[0].action_types
_TENANT_IDS = {name: tenant_id_of(name) for name in ("acme", "globex", "initech")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An acting agent of a tenant; its actions are one calibration stream.

    It states a confidence p between `lowest` and `highest` and succeeds at the rate
    `offset + slope * p`.
    """

    name: str
    tenant: str
    action_type: str
    truth: str
    truth_in_words: str
    share: int
    offset: float
    slope: float = 1.0
    shape: tuple[float, float] = (2.0, 2.0)
    lowest: float = 0.3
    highest: float = 0.95

    @property
    def tenant_id(self) -> str:
        """The tenant's UUID."""
        return _TENANT_IDS[self.tenant]

    @property
    def outcome_type(self) -> str:
        """The outcome that calibrates its actions."""
        return _RULES[self.action_type][0].type

    @property
    def window_ms(self) -> int:
        """How long an action of it waits for a success."""
        return _RULES[self.action_type][0].window_ms

    def actual(self, stated: float) -> float:
        """The rate at which it succeeds where it states `stated`.

        >>> AGENTS[1].name, round(AGENTS[1].actual(0.82), 2)
        ('closer-bot', 0.58)
        """
        return min(max(self.offset + self.slope * stated, 0.02), 0.98)


AGENTS: tuple[Agent, ...] = (
    Agent(
        name="opener-bot",
        tenant="acme",
        action_type="send_email",
        truth=WELL_CALIBRATED,
        truth_in_words="succeeds as often as it says",
        share=16,
        offset=0.0,
    ),
    Agent(
        name="closer-bot",
        tenant="acme",
        action_type="recommend_action",
        truth=OVER_CONFIDENT,
        truth_in_words="succeeds 24 points less often than it says",
        share=22,
        offset=-0.24,
        shape=(5.0, 1.6),
        lowest=0.46,
    ),
    Agent(
        name="scout-bot",
        tenant="acme",
        action_type="qualify",
        truth=UNDER_CONFIDENT,
        truth_in_words="succeeds 20 points more often than it says",
        share=16,
        offset=0.2,
        highest=0.75,
    ),
    Agent(
        name="chat-bot",
        tenant="globex",
        action_type="send_chat",
        truth=UNDER_CONFIDENT,
        truth_in_words="succeeds 15 points more often than it says",
        share=10,
        offset=0.15,
        highest=0.8,
    ),
    Agent(
        name="reply-bot",
        tenant="globex",
        action_type="process_reply",
        truth=WELL_CALIBRATED,
        truth_in_words="succeeds as often as it says",
        share=10,
        offset=0.0,
        shape=(3.0, 2.0),
    ),
    Agent(
        name="medic-bot",
        tenant="globex",
        action_type="escalate",
        truth=OVER_CONFIDENT,
        truth_in_words="succeeds 18 points less often than it says",
        share=9,
        offset=-0.18,
        shape=(3.0, 1.5),
    ),
    Agent(
        name="mailer-bot",
        tenant="initech",
        action_type="send_email",
        truth=OVER_CONFIDENT,
        truth_in_words="succeeds at half the rate it says, plus 5 points",
        share=9,
        offset=0.05,
        slope=0.5,
    ),
    Agent(
        name="planner-bot",
        tenant="initech",
        action_type="recommend_action",
        truth=WELL_CALIBRATED,
        truth_in_words="succeeds as often as it says",
        share=8,
        offset=0.0,
    ),
)
