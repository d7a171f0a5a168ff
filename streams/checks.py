"""The five checks: what was done at intervals once and is done at every record now.

Three look for the signals that settle an outcome, by the length of its window; one expires what
nothing settled; one enters settled outcomes into the bins. None waits for a time of day: the tasks
of a Faust agent do it in each step, so that a check is as good as its tasks. An exception stops the
task it happened in; tasks of other agents and partitions go on, and so do their checks.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from agents_topics.roster import CALIBRATOR, RESOLVER, AgentRow
from streams.calibrate import CalibratorWork
from streams.resolve_outcomes import ResolverWork
from streams.task import Task
from tables.window_tiers import CHECKS as SIGNAL_CHECKS

CONTINUOUS = "continuous"

_FAILING = ("retrying", "failed", "refused")


@dataclass(frozen=True, slots=True)
class CheckRun:
    """How a check fares on this worker.

    `last_run_ms` is when one of its tasks last ended a step or found nothing to do, by the wall
    clock; `failures` how often one of its tasks had to begin anew or has stopped, since the worker
    took it over. `handled` is part of the tasks' own exact state: it survives restarts.
    """

    name: str
    interval: str
    last_run_ms: int | None
    handled: int
    failures: int


@dataclass(frozen=True, slots=True)
class _Check:
    name: str
    agent: AgentRow
    handled: Callable[[object], int]


def _counted(group: str, member: str) -> Callable[[object], int]:
    def handled(work: object) -> int:
        assert isinstance(work, ResolverWork)
        return work.resolver.counts.get((group, member), 0)

    return handled


def _entered(work: object) -> int:
    """The outcomes in bins and labels, excluded ones too."""
    assert isinstance(work, CalibratorWork)
    return work.calibrator.entered_count


_CHECKS = (
    *(_Check(name, RESOLVER, _counted("check", name)) for name in SIGNAL_CHECKS),
    _Check("expire_overdue_outcomes", RESOLVER, _counted("settled", "expired")),
    _Check("calibration_check", CALIBRATOR, _entered),
)


def setup_learning_scheduler(tasks: Iterable[Task]) -> dict[str, Callable[[], CheckRun]]:
    """The five by name; each says how it fares on this worker when it is called."""

    def run_of(check: _Check) -> CheckRun:
        own = [task for task in tasks if task.row.name == check.agent.name]
        return CheckRun(
            check.name,
            CONTINUOUS,
            max((task.ran_at_ms for task in own if task.ran_at_ms is not None), default=None),
            sum(check.handled(task.work) for task in own),
            sum(max(task.reopened_count, 0) + (task.state in _FAILING) for task in own),
        )

    def bound(check: _Check) -> Callable[[], CheckRun]:
        return lambda: run_of(check)

    return {check.name: bound(check) for check in _CHECKS}
