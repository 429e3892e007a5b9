"""The exception tree: mistakes of the user apart from failures of the machine.

Anything that is not one of these is a bug of ours and keeps its traceback. This
module knows nothing of the command line; `exit_code` is only the number that a
shell would return.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class CollapseLMError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code = 1


@dataclass(frozen=True)
class Problem:
    """One mistake: where it is, what was given, what would be accepted, how to mend it."""

    where: str
    got: str
    expected: str
    fix: str | None = None

    def __str__(self) -> str:
        lines = [f"{self.where}", f"  got       {self.got}", f"  expected  {self.expected}"]
        if self.fix:
            lines.append(f"  fix       {self.fix}")
        return "\n".join(lines)


class UserError(CollapseLMError):
    """Bad input: one or more problems, all of them found before anything was created."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @classmethod
    def single(cls, where: str, got: object, expected: str, fix: str | None = None) -> "UserError":
        """Make an error that holds one problem."""
        return cls([Problem(where, str(got), expected, fix)])


class MachineError(CollapseLMError):
    """The environment failed in the middle of the work: disk, memory, network."""
