"""A state that nobody will use gives its memory back at once: the collector would not.

Conversations and their actions hold each other, and what was restored is out of the collector's
sight. A task that reopened again and again once held every state that it had thrown away.
"""

import gc

import pytest
from faust.types import TP

from agents_topics.policy_file import load_policy
from agents_topics.roster import RESOLVER
from agents_topics.topics import TOPICS
from streams.resolve_outcomes import ResolverSettings, ResolverWork
from streams.tasks import Tasks
from streams.transactions import TransactionBudget
from streams.work import Tools
from tables.outcome_join import HeldAction
from tests.resolver_task import GRACE, Task, action
from tests.simulation.loop import VirtualLoop

TOOLS = Tools(
    clients=None,
    group="trueup",
    names={topic.name: topic.name for topic in TOPICS},
    partition_count=1,
    broker=None,
    budget=TransactionBudget(100),
    transactions={},
    restores={},
)
SETTINGS = ResolverSettings(load_policy(None), GRACE, 10_000)


@pytest.fixture(autouse=True)
def without_collector():
    gc.disable()
    yield
    gc.enable()


def open_state():
    """A resolver with an action whose id is its own."""
    task = Task()
    task.step(action(0, event_id="dropped"))
    return task.resolver


def is_held():
    actions = [one for one in gc.get_objects() if type(one) is HeldAction]
    return any(one.action_id == "dropped" for one in actions)


def test_a_task_that_begins_anew_lets_its_last_state_go():
    work = ResolverWork(0, TOOLS, SETTINGS)
    work.resolver = open_state()
    assert is_held()

    work.begin(None)

    assert not is_held()


def test_a_state_that_was_kept_for_a_partition_which_went_elsewhere_is_let_go():
    tasks = Tasks(TOOLS, SETTINGS, None, 1_000, [RESOLVER])

    async def run():
        tasks.open({TP(topic.name, 0) for topic in RESOLVER.reads}, None)
        (task,) = tasks
        task.work.resolver = open_state()
        await tasks.close()
        assert is_held()
        tasks.open(set(), None)

    VirtualLoop().run(run())

    assert not is_held()
