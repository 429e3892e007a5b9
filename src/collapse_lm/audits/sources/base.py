"""What a source of audited texts yields, and what it could not read. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

Key = int | float | str  # of a group: a step, or any other value of a column

MOST_NAMED = 20  # broken places that are told one by one


@dataclass(frozen=True)
class Entry:
    """One text of a file.

    Attributes:
        text: what is measured.
        group: that it belongs to; None where the source has no groups.
        prompt: that it answers, where known.
    """

    text: str
    group: Key | None = None
    prompt: str = ""


@dataclass
class Broken:
    """Places that could not be read; counted all, named the first.

    Attributes:
        count: of all.
        named: "FILE, line N: why", at most `MOST_NAMED`.
    """

    count: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, place: str, why: object) -> None:
        """Note a place."""
        self.count += 1
        if len(self.named) < MOST_NAMED:
            self.named.append(f"{place}: {why}"[:300])


class Source(Protocol):
    """Texts of one format.

    Attributes:
        told: what was found, and what was taken for text and group, in words.
        has_groups: its texts have groups of their own.
        broken: what could not be read so far.
    """

    told: str
    has_groups: bool
    broken: Broken

    def __iter__(self) -> Iterator[Entry]:
        """Every text that can be read, in the order of the files."""
        ...


def natural(name: str) -> list[tuple[bool, int, str]]:
    """A key by which step-10 comes after step-9."""
    parts = re.split(r"(\d+)", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
