"""A state that does not fit its logs is refused with what to do; a worn-out producer is renewed."""

from types import SimpleNamespace

import pytest

from agents_topics.connection import Connection
from agents_topics.policy_file import load_policy
from agents_topics.topics import TOPICS
from streams.calibrate import CalibratorWork
from streams.changelog import FORMAT, Progress, StateProblem, encode, progress_of
from streams.clients import KafkaClients
from streams.task import Busy
from streams.transactions import RECORDS_MAX, TaskProducer
from streams.work import check_logs

TOPIC = "agent-actions"


class Logs:
    """A broker whose log of the topic goes from `start` to `end`."""

    def __init__(self, start, end):
        self.start, self.end = start, end

    async def starts(self, names, _):
        return dict.fromkeys(names, self.start)

    async def ends(self, names, _):
        return dict.fromkeys(names, self.end)


def tools(broker=None):
    return SimpleNamespace(names={t.name: t.name for t in TOPICS}, partition_count=4, broker=broker)


async def checked(applied, start, end, has_state=True):
    offsets = {TOPIC: applied}
    return await check_logs("task", offsets, 0, tools(Logs(start, end)), has_state=has_state)


@pytest.mark.parametrize(("applied", "start", "end"), [(0, 0, 0), (7, 0, 7), (7, 7, 9), (7, 3, 9)])
async def test_offsets_within_their_log_are_taken(applied, start, end):
    assert await checked(applied, start, end) == {TOPIC: start}


async def test_who_begins_with_nothing_begins_where_the_log_does():
    assert await checked(0, 5, 9, has_state=False) == {TOPIC: 5}


@pytest.mark.parametrize(
    ("applied", "start", "end", "told"),
    [
        (3, 5, 9, "offsets 3 to 4 were deleted before they were applied: keep them longer"),
        (0, 5, 9, "offsets 0 to 4 were deleted"),
        (10, 0, 9, "offset 10 was to follow but the log ends at 9: the topic was made anew"),
    ],
)
async def test_offsets_outside_their_log_are_refused(applied, start, end, told):
    with pytest.raises(StateProblem, match=told):
        await checked(applied, start, end)


async def test_a_partition_that_was_added_is_refused():
    with pytest.raises(StateProblem, match="TRUEUP_PARTITIONS is 4: partitions were added"):
        await CalibratorWork(4, tools(), load_policy(None)).open()


def test_a_state_of_another_format_is_refused_with_what_makes_it_again():
    written = encode(Progress(format=FORMAT + 1))

    with pytest.raises(
        StateProblem, match=f"has format {FORMAT + 1}.*`trueup rebuild --yes`"
    ) as it:
        progress_of(written, "task")
    assert it.value.is_lost


async def test_a_producer_is_renewed_before_its_sequence_numbers_end():
    work = CalibratorWork(0, tools(), load_policy(None))
    work._producer = TaskProducer(KafkaClients(Connection(bootstrap="127.0.0.1:1")), "t", "g")
    work._producer._records = RECORDS_MAX + 1

    with pytest.raises(Busy, match="a new one follows"):
        await work.transact({})
    await work.close(is_clean=False)
