"""How a task opens on a real broker: where offsets and changelog do not belong together it refuses.

A resolver task lives a step, in which it applies one action; then something happens to what it
left, and another one opens in its place.
"""

import asyncio
import json
import uuid
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.errors import GroupCoordinatorNotAvailableError
from faust.types import TP

from agents_topics.connection import connection_of
from agents_topics.identifiers import key_of
from agents_topics.policy_file import load_policy
from agents_topics.roster import GROUP, RESOLVER
from agents_topics.topics import (
    AGENT_ACTIONS,
    LATE_EVENTS,
    OUTCOMES,
    RESOLVER_CHANGELOG,
    TOPICS,
)
from sinks.memory import MemorySink
from streams.broker import Broker
from streams.changelog import StateProblem
from streams.clients import KafkaClients
from streams.resolve_outcomes import ResolverSettings, ResolverWork
from streams.tasks import Tasks
from streams.topic_admin import create_topics
from streams.transactions import Out, TaskProducer, TransactionBudget
from streams.work import Tools
from tests.topic_configs import configure
from trueup.reset import delete_group, delete_topics
from trueup.topic_reader import TopicReader

HOUR_MS = 3_600_000
TENANT = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"
SETTINGS = ResolverSettings(
    load_policy(None), {"agent-actions": HOUR_MS, "agent-interactions": HOUR_MS}, 10_000
)


class Installation:
    """Topics with one partition each, and what an operator may do to them."""

    def __init__(self, connection, broker, admin):
        self.connection, self.broker, self.admin = connection, broker, admin
        self.group = connection.topic(GROUP)

    async def wait_for_coordinator(self):
        """A cluster makes its groups' topic when it is first asked for one."""
        for _ in range(100):
            try:
                return await self.admin.find_coordinator(self.group)
            except GroupCoordinatorNotAvailableError:
                await asyncio.sleep(0.1)

    def tools(self, partitions=1):
        return Tools(
            clients=KafkaClients(self.connection),
            group=self.group,
            names={topic.name: self.connection.topic(topic.name) for topic in TOPICS},
            partition_count=partitions,
            broker=self.broker,
            budget=TransactionBudget(100),
            transactions={},
            restores={},
        )

    async def opened(self, partitions=1):
        """A task opens and closes; returns the offsets it goes on from and how much it holds."""
        work = ResolverWork(0, self.tools(partitions), SETTINGS)
        try:
            return await work.open(), work.resolver.open_count
        finally:
            await work.close(is_clean=False)

    async def live(self, topic=AGENT_ACTIONS.name):
        """A task applies all that is in a topic of its, in a step."""
        work = ResolverWork(0, self.tools(), SETTINGS)
        work.task = SimpleNamespace(is_closing=False)
        offsets = await work.open()
        async with TopicReader(self.connection) as reader:
            (_, end) = (await reader.spans(topic))[0]
            spans = {0: (offsets[topic], end)}
            records = [r async for r in reader.records(topic, spans)]
        work.take(topic, records)
        await work.commit()
        await work.close(is_clean=True)
        await self.settled()

    async def settled(self):
        """The changelog shows what was committed: markers come a little after the answer."""
        name = self.name(RESOLVER_CHANGELOG)
        while await self.broker.ends([name], 0) != await self.broker.high_watermarks([name], 0):
            await asyncio.sleep(0.01)

    async def act(self, event_id):
        """An agent acts."""
        event = {
            "event_id": event_id,
            "tenant_id": TENANT,
            "conversation_id": "c",
            "action_type": "send_email",
            "predicted_confidence": 0.5,
            "occurred_at": "2026-01-05T00:00:00Z",
        }
        async with AIOKafkaProducer(**self.connection.client_options()) as producer:
            await producer.send_and_wait(
                self.name(AGENT_ACTIONS), json.dumps(event).encode(), key_of(TENANT, "c").encode()
            )

    def name(self, topic):
        return self.connection.topic(topic.name)

    async def lose_offsets(self):
        """As when they have expired."""
        await delete_group(self.admin, self.group)

    async def lose(self, *topics):
        """They are deleted and made anew."""
        await delete_topics(self.admin, [self.name(topic) for topic in topics])
        await create_topics(self.connection, 1)

    async def cut(self, topic, offset):
        """The log begins there from now on."""
        await self._configure(topic, {"cleanup.policy": "delete"})
        tp = TopicPartition(self.name(topic), 0)
        await self.admin.delete_records({tp: RecordsToDelete(offset)})
        await self._configure(topic, {})

    async def _configure(self, topic, changes):
        await configure(self.admin, {self.name(topic): topic.broker_config() | changes})

    async def set_group(self, offset):
        """Somebody resets the group with Kafka's own tools."""
        options = self.connection.client_options()
        async with AIOKafkaConsumer(
            **options, group_id=self.group, enable_auto_commit=False
        ) as consumer:
            tp = TopicPartition(self.name(AGENT_ACTIONS), 0)
            consumer.assign([tp])
            await consumer.commit({tp: offset})


@asynccontextmanager
async def one_installation(kafka_bootstrap):
    """Topics of its own, which nobody has used."""
    prefix = f"o{uuid.uuid4().hex[:8]}-"
    connection = connection_of({"KAFKA_BOOTSTRAP": kafka_bootstrap, "TRUEUP_PREFIX": prefix})
    await create_topics(connection, 1)
    broker = Broker(KafkaClients(connection))
    admin = AIOKafkaAdminClient(**connection.client_options())
    await broker.start()
    await admin.start()
    made = Installation(connection, broker, admin)
    await made.wait_for_coordinator()
    yield made
    await admin.close()
    await broker.stop()


@pytest.fixture
async def installation(kafka_bootstrap):
    """A task has lived a step: one action is open."""
    async with one_installation(kafka_bootstrap) as made:
        await made.act("a0")
        await made.live()
        yield made


async def test_it_goes_on_where_the_changelog_says(installation):
    offsets, open_count = await installation.opened()

    assert (offsets[AGENT_ACTIONS.name], open_count) == (1, 1)


async def test_where_the_groups_offsets_have_expired_it_goes_on(installation):
    await installation.lose_offsets()

    offsets, open_count = await installation.opened()

    assert (offsets[AGENT_ACTIONS.name], open_count) == (1, 1)


async def test_a_group_that_was_set_back_is_refused_with_the_command_that_sets_it_right(
    installation,
):
    await installation.set_group(0)

    command = (
        f"kafka-consumer-groups --group {installation.group} --topic "
        f"{installation.name(AGENT_ACTIONS)}:0 --reset-offsets --to-offset 1 --execute"
    )
    with pytest.raises(StateProblem, match="was set back to 0, the state has 1") as refused:
        await installation.opened()
    assert command in str(refused.value)

    await installation.set_group(1)
    assert (await installation.opened())[1] == 1


async def test_a_changelog_that_was_lost_is_refused(installation):
    await installation.lose(RESOLVER_CHANGELOG)

    with pytest.raises(StateProblem, match=r"the changelog was lost.*`trueup rebuild --yes`"):
        await installation.opened()


async def test_a_changelog_that_was_lost_is_refused_where_the_offsets_have_expired_too(
    installation,
):
    """Its outcomes tell of its past: to begin with nothing would settle each of them twice."""
    await installation.lose(RESOLVER_CHANGELOG)
    await installation.lose_offsets()

    with pytest.raises(StateProblem, match=r"is empty, and .*outcomes has what it once wrote"):
        await installation.opened()


async def test_so_it_is_where_retention_has_taken_its_outcomes_since(installation):
    await installation.lose(RESOLVER_CHANGELOG)
    await installation.lose_offsets()
    await installation.cut(OUTCOMES, 1)

    with pytest.raises(StateProblem, match="the changelog was lost"):
        await installation.opened()


async def test_a_changelog_without_its_first_rows_is_refused(installation):
    await installation.act("a1")
    await installation.live()
    await installation.cut(RESOLVER_CHANGELOG, 1)

    with pytest.raises(StateProblem, match=r"begins at offset 1: .*`trueup rebuild --yes`"):
        await installation.opened()


async def test_a_task_that_never_said_a_thing_begins_at_the_beginning(installation):
    await installation.lose(RESOLVER_CHANGELOG, OUTCOMES, LATE_EVENTS)
    await installation.lose_offsets()

    offsets, open_count = await installation.opened()

    assert (offsets[AGENT_ACTIONS.name], open_count) == (0, 0)


async def test_a_first_step_that_was_aborted_is_no_past(installation):
    await installation.lose(RESOLVER_CHANGELOG, OUTCOMES)
    await installation.lose_offsets()
    name = f"{RESOLVER.transactional_ids}0"
    killed = TaskProducer(KafkaClients(installation.connection), name, installation.group)
    await killed.open()
    await killed._producer.begin_transaction()
    for topic in (OUTCOMES, RESOLVER_CHANGELOG):
        for future in await killed._send(installation.name(topic), 0, [Out(b"k", b"v")]):
            await future.result
    offsets, open_count = await installation.opened()  # fences, and so aborts
    await killed.close()

    assert (offsets[AGENT_ACTIONS.name], open_count) == (0, 0)
    assert (await installation.broker.ends([installation.name(OUTCOMES)], 0)) != {
        installation.name(OUTCOMES): 0
    }


async def test_input_that_retention_has_taken_unread_is_refused_with_its_range(installation):
    for number in range(1, 5):
        await installation.act(f"a{number}")
    await installation.cut(AGENT_ACTIONS, 4)

    with pytest.raises(StateProblem, match="offsets 1 to 3 were deleted before they were applied"):
        await installation.opened()


async def test_an_input_that_was_made_anew_is_refused(installation):
    await installation.act("a1")
    await installation.live()
    await installation.lose(AGENT_ACTIONS)

    with pytest.raises(StateProblem, match="offset 2 was to follow but the log ends at 0"):
        await installation.opened()


async def test_a_state_that_was_made_for_fewer_partitions_is_refused(installation):
    grown = {topic: NewPartitions(2) for topic in map(installation.name, TOPICS)}
    await installation.admin.create_partitions(grown)

    with pytest.raises(StateProblem, match="was made for 1 partitions, TRUEUP_PARTITIONS is 2"):
        await installation.opened(partitions=2)


async def test_a_partition_that_is_added_while_a_worker_runs_has_a_task_that_refuses(installation):
    """One topic has it first; the group may tell of it before the others have theirs."""
    tasks = Tasks(installation.tools(), SETTINGS, MemorySink(), 100)

    tasks.open({TP(installation.name(AGENT_ACTIONS), 1)}, None)
    for _ in range(50):
        await asyncio.sleep(0.02)
        if all(task.state == "refused" for task in tasks):
            break
    told = {task.name: (task.state, task.problem) for task in tasks}
    await tasks.close()

    state, problem = told["outcome-resolver-1"]
    assert state == "refused"
    assert "TRUEUP_PARTITIONS is 1: partitions were added" in problem
    assert set(told) == {"outcome-resolver-1"}
