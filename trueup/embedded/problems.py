"""What the user's machine lacks, said in one sentence, with the fix in another."""


class EnvironmentProblem(Exception):
    """Something outside the program must change before it can run.

    The command line prints it and exits 3; nobody is helped by a traceback here.

    Args:
        what: One sentence that says what is wrong.
        fix: One sentence that says what to do about it.
    """

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what, fix)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what} {self.fix}"
