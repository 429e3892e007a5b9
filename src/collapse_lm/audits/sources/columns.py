"""Which column of a table of texts is the text, and which the step; what a value says. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from collapse_lm.audits.sources.base import Entry, Key
from collapse_lm.config.keys import did_you_mean
from collapse_lm.errors import UserError

TEXTS = ("completion", "response", "output", "text", "content", "messages", "conversations")
PROMPTS = ("prompt", "input", "instruction", "question")
STEP = "step"
_SPEAKERS = ("role", "from")
_OF_THE_MODEL = ("assistant", "gpt", "model")
_WORDS = ("content", "value", "text")
_MOST_KEY = 100  # characters of the name of a group
_MOST_NUMBER = 1e300  # what is not below it, or is not a number, can be no step


class Columns:
    """The columns that an audit reads.

    Args:
        where: the file, for messages.
        found: names of its columns.
        text: the one that was asked for; None takes the first known one.
        by: likewise of the groups; None takes `step` where there is one.

    Raises:
        UserError: for a name that is no column, and where none is known for a text.
    """

    def __init__(self, where: str, found: Sequence[str], text: str | None, by: str | None) -> None:
        self.text = _asked(where, "--text", text, found) or _known(where, found)
        self.by = _asked(where, "--by", by, found) or (STEP if STEP in found else None)
        self.prompt = next((n for n in PROMPTS if n in found and n != self.text), None)

    @property
    def names(self) -> list[str]:
        """The columns that are read."""
        return [name for name in (self.text, self.by, self.prompt) if name is not None]

    @property
    def told(self) -> str:
        """What was taken for what."""
        groups = f", groups by {self.by!r}" if self.by else ""
        return f"text in {self.text!r}{groups}"

    def entry(self, row: Mapping[str, Any]) -> Entry:
        """The text of a row.

        Raises:
            ValueError: for a row that lacks one, or its group; the message says what is wrong.
        """
        if self.text not in row:
            raise ValueError(f"no {self.text!r}")
        told = spoken(row[self.text])
        if told is None:
            raise ValueError(f"{self.text!r} is {_kind(row[self.text])}, neither text nor messages")
        prompt = spoken(row.get(self.prompt), whole=True) if self.prompt else None
        return Entry(told, self._group(row), prompt or "")

    def _group(self, row: Mapping[str, Any]) -> Key | None:
        if self.by is None:
            return None
        value = row.get(self.by)
        if isinstance(value, str):
            return value[:_MOST_KEY]
        if isinstance(value, (int, float)) and abs(value) < _MOST_NUMBER:
            return int(value) if float(value).is_integer() else value
        if isinstance(value, (int, float)):
            raise ValueError(f"{self.by!r} is no number of a step")
        raise ValueError(f"{self.by!r} is {_kind(value)}, neither number nor text")


def spoken(value: Any, *, whole: bool = False) -> str | None:
    """The words of a text, of a message or of a conversation; None for anything else.

    Of a conversation what the model said, unless nobody is told to have said it.

    Args:
        value: of a column.
        whole: of a conversation all that was said.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        said = next((value[name] for name in _WORDS if name in value), None)
        return "" if said is None and _speaker(value) else spoken(said, whole=True)
    if not isinstance(value, (list, tuple)) or not value:
        return None
    of_model = [one for one in value if _speaker(one) in _OF_THE_MODEL]
    told = [spoken(one, whole=True) for one in (value if whole or not of_model else of_model)]
    return None if None in told else "\n".join(part for part in told if part)


def _speaker(value: Any) -> str:
    if not isinstance(value, Mapping):
        return ""
    return str(next((value[name] for name in _SPEAKERS if name in value), ""))


def _kind(value: Any) -> str:
    kinds = {type(None): "null", dict: "an object", list: "a list", bool: "true or false"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def _asked(where: str, option: str, name: str | None, found: Iterable[str]) -> str | None:
    columns = list(found)
    if name is None or name in columns:
        return name
    raise UserError.single(
        f"{option} {name}",
        f"no such column in {where}",
        f"one of {', '.join(columns[:20]) or '(none)'}",
        did_you_mean(name, columns),
    )


def _known(where: str, found: Sequence[str]) -> str:
    named = next((name for name in TEXTS if name in found), None)
    if named is None:
        told = f"columns {', '.join(map(str, found[:20])) or '(none)'}"
        expected = f"a column of texts: {', '.join(TEXTS)}"
        raise UserError.single(where, told, expected, "name it with --text")
    return named
