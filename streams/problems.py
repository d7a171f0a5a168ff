"""What keeps a worker from starting."""


class WorkerProblem(Exception):
    """The worker cannot start; says why and what to do."""
