"""An event loop whose time is a number: nothing waits, and a program runs the same way each time.

The law: what runs next follows from what was asked for and from nothing else. Each handle belongs
to the process in whose context it was made. A process that is stopped keeps its handles, as one
does that got SIGSTOP, and runs them late when it goes on; one that is killed never runs again.
"""

import asyncio
import contextvars
import heapq
from collections import deque

TURNS_MAX = 400_000
"""A hundred times what a run takes."""


class Endless(Exception):
    """Something goes on and on, and no time passes that would end it."""


class Process:
    """What may be stopped and killed by itself. Its clock is ahead of the others' by `skew_s`."""

    def __init__(self, name, skew_s=0.0):
        self.name = name
        self.skew_s = skew_s
        self.is_stopped = False
        self.is_killed = False
        self.held = []
        self.jobs = []
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)


PROCESS = contextvars.ContextVar("PROCESS", default=None)
BROKER = contextvars.Context()
"""The broker's side: no process's stop or end keeps it from happening."""


class VirtualLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as asyncio's tasks, events, locks and time-outs need."""

    def __init__(self, now_s=1_000.0):
        self.now_s = now_s
        self.problems = []
        self._ready = deque()
        self._timers = []
        self._count = 0

    def run(self, work):
        """Runs a coroutine to its end, and of the processes as much as happens meanwhile."""
        asyncio._set_running_loop(self)
        try:
            job, turns = self.create_task(work), 0
            while not job.done():
                self._turn()
                turns += 1
                if turns > TURNS_MAX:
                    raise Endless(f"{TURNS_MAX:,} turns, at {self.now_s:.3f} s")
            return job.result()
        finally:
            asyncio._set_running_loop(None)

    def _turn(self):
        if not self._ready:
            when_s, _, timer = heapq.heappop(self._timers)
            self.now_s = max(self.now_s, when_s)
            self._ready.append(timer)
        handle = self._ready.popleft()
        process = handle._context.get(PROCESS)
        if process is not None and (process.is_stopped or process.is_killed):
            process.held.append(handle)
        elif not handle._cancelled:
            handle._run()

    def spawn(self, process, work):
        """A job of a process."""
        return process.context.run(self.create_task, work)

    def go_on(self, process):
        """A stopped process goes on where it stood."""
        process.is_stopped = False
        self._ready.extend(process.held)
        process.held.clear()

    def at_broker(self, delay_s, callback, *args):
        """Something happens at the broker after a while."""
        return self._after(delay_s, callback, args, BROKER)

    # ---- what asyncio asks for -----------------------------------------------------------------

    def time(self):
        process = PROCESS.get()
        return self.now_s + (process.skew_s if process else 0.0)

    def call_soon(self, callback, *args, context=None):
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(self, when, callback, *args, context=None):
        return self._after(when - self.time(), callback, args, context)

    def call_later(self, delay, callback, *args, context=None):
        return self._after(delay, callback, args, context)

    def _after(self, delay_s, callback, args, context):
        when_s = self.now_s + max(delay_s, 0.0)
        timer = asyncio.TimerHandle(when_s, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when_s, self._count, timer))
        return timer

    def _timer_handle_cancelled(self, handle): ...

    def create_future(self):
        return asyncio.Future(loop=self)

    def create_task(self, work, **options):
        job = asyncio.Task(work, loop=self, **options)
        if process := PROCESS.get():
            process.jobs.append(job)
        return job

    def call_exception_handler(self, context):
        self.problems.append(context)

    def get_debug(self):
        return False

    def is_running(self):
        return True

    def is_closed(self):
        return False


def end(loop, processes):
    """Every job of the processes ends, so that none is found unfinished and its clean-up run late.

    What they still ask of the broker is no part of the run any more. A cancellation may be lost
    where something fails in the same turn, so it is asked for until all have ended.
    """
    for process in processes:
        process.is_killed = False
        loop.go_on(process)

    async def ended():
        while jobs := [job for process in processes for job in process.jobs if not job.done()]:
            for job in jobs:
                job.cancel()
            await asyncio.sleep(0.1)

    loop.run(ended())
