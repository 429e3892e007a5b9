"""Options that are lists of numbers, and how an evaluation with a record of its own is shown."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from collapse_lm._util.printable import printable
from collapse_lm.errors import UserError

if TYPE_CHECKING:
    from collapse_lm.ngrams.record import EvaluationResult

N = TypeVar("N", int, float)


def numbers_of(option: str, text: str, kind: Callable[[str], N]) -> list[N]:
    """Read N,N,...

    Raises:
        UserError: for anything else.
    """
    try:
        return [kind(word) for word in text.split(",")]
    except ValueError:
        expected = "whole numbers with commas" if kind is int else "numbers with commas"
        raise UserError.single(option, text, expected) from None


def told_evaluation(
    result: "EvaluationResult", as_json: bool, lines: Callable[[dict[str, Any]], list[str]]
) -> None:
    """Print the summary of an evaluation, or the lines that it makes."""
    found = result.summary
    if as_json:
        print(json.dumps(found, indent=2))
    elif found["status"] == "interrupted":
        print(printable(f"interrupted; the same call with --out {result.directory} goes on"))
    else:
        told = [*lines(found), f"record {result.directory}"]
        print("\n".join(printable(line) for line in told))
