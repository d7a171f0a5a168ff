"""The consumer group: eager, so that whoever joins or goes makes everyone begin anew."""

SESSION_S = 6.0
REBALANCE_S = 20.0


class Member:
    """A worker as its group sees it."""

    def __init__(self, now_s, answer):
        self.heard_s = now_s
        self.answer = answer
        """Set to what is assigned, once all have joined; None while it has not joined anew."""


class Group:
    """Who is in, and which partition numbers each has."""

    def __init__(self, loop, random, partition_count):
        self.members = {}
        self._loop, self._random, self._partition_count = loop, random, partition_count
        self._rebalances_since_s = None
        loop.at_broker(1.0, self._sweep)

    def join(self, name):
        """A future of the partition numbers that the worker gets."""
        self.members[name] = Member(self._loop.now_s, self._loop.create_future())
        answer = self.members[name].answer
        self.rebalance()
        self._complete()
        return answer

    def leave(self, name):
        """A worker goes in good order."""
        if self.members.pop(name, None):
            self.rebalance()
            self._complete()

    def beat(self, name):
        """Whether the worker may go on with what it has."""
        member = self.members.get(name)
        if member is None:
            return False
        member.heard_s = self._loop.now_s
        return self._rebalances_since_s is None

    def rebalance(self):
        """Everyone is to let go and join anew."""
        if self._rebalances_since_s is None:
            self._rebalances_since_s = self._loop.now_s
            for member in self.members.values():
                if member.answer.done():
                    member.answer = None

    def _sweep(self):
        self._loop.at_broker(1.0, self._sweep)
        now_s = self._loop.now_s
        gone = [n for n, member in self.members.items() if now_s - member.heard_s > SESSION_S]
        since_s = self._rebalances_since_s
        if since_s is not None and now_s - since_s > REBALANCE_S:
            gone += [n for n, member in self.members.items() if member.answer is None]
        for name in gone:
            if self.members.pop(name, None):
                self.rebalance()
        self._complete()

    def _complete(self):
        members = list(self.members.values())
        is_complete = members and all(member.answer is not None for member in members)
        if self._rebalances_since_s is None or not is_complete:
            return
        self._rebalances_since_s = None
        numbers = {id(member): [] for member in members}
        for number in range(self._partition_count):
            numbers[id(self._random.choice(members))].append(number)
        for member in members:
            if not member.answer.done():
                member.answer.set_result(numbers[id(member)])
