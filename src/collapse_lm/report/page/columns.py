"""The rows of a run as columns: a list per name, as long as there are updates. Pure."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from collapse_lm.measures.names import Number, Row
from collapse_lm.report.page.blocks import number
from collapse_lm.report.page.private import clean


class Columns:
    """Rows in columns; None where a row does not have a name, or its number is not finite.

    Attributes:
        updates: of the rows, in order.
        values: by name, in the order in which names first came.
        base_at: the update of the row that tells what the base model drew.
    """

    base_at = 1

    def __init__(self) -> None:
        self.updates: list[int] = []
        self.values: dict[str, list[Number | None]] = {}
        self._renamed: dict[str, str] = {}  # a label may be the path of a corpus

    def add(self, row: Row) -> None:
        """Take the next row."""
        for recorded, value in row.values.items():
            name = self._renamed.get(recorded) or self._rename(recorded)
            column = self.values.get(name)
            if column is None:
                column = self.values[name] = [None] * len(self.updates)
            column.append(number(value))
        self.updates.append(row.update)
        for column in self.values.values():
            if len(column) < len(self.updates):
                column.append(None)

    def _rename(self, recorded: str) -> str:
        """A name that tells nobody's folders, and is no other's."""
        name, taken = clean(recorded), set(self._renamed.values())
        base = name.removesuffix("]")
        for count in range(2, len(taken) + 3):
            if name not in taken:
                break
            name = f"{base} #{count}]" if name.endswith("]") else f"{base} #{count}"
        self._renamed[recorded] = name
        return name

    def known(self, name: str) -> Iterator[tuple[int, float]]:
        """(update, value) of every row that has a finite number of this name."""
        for update, value in zip(self.updates, self.values.get(name, ()), strict=False):
            if value is not None:
                yield update, float(value)

    def first(self, name: str) -> float:
        """The first finite value, NaN without one."""
        return next((value for _, value in self.known(name)), math.nan)

    def last(self, name: str) -> float:
        """The last finite value, NaN without one."""
        column = self.values.get(name, ())
        return next((float(v) for v in reversed(column) if v is not None), math.nan)

    def lowest(self, name: str) -> float:
        """The lowest finite value, NaN without one."""
        return min((value for _, value in self.known(name)), default=math.nan)

    def at_or_after(self, name: str, update: int) -> float:
        """The first finite value from an update on, NaN without one."""
        return next((value for at, value in self.known(name) if at >= update), math.nan)

    def are_alike(self, name: str, other: str) -> bool:
        """True where two names have the same numbers, or there is only the second of them."""
        return name not in self.values or self.values[name] == self.values.get(other)

    def block(self) -> dict[str, Any]:
        """What the block of rows holds."""
        return {"update": self.updates, "columns": self.values}

    def dose(self) -> list[float | None] | None:
        """Learning rate times steps, summed up to each row; None where no rate was recorded."""
        rates = self.values.get("train.lr")
        if rates is None:
            return None
        steps: Sequence[Number | None] = self.values.get("train.steps") or []
        applied: Sequence[Number | None] = self.values.get("train.applied") or []
        total, found = 0.0, list[float | None]()
        for place, rate in enumerate(rates):
            count = steps[place] if place < len(steps) else None
            is_withheld = count is None and place < len(applied) and applied[place] == 0
            total += (rate or 0) * (0 if is_withheld else 1 if count is None else count)
            found.append(number(total))
        return found

    def spark(self, name: str, most: int = 40) -> list[Number]:
        """At most so many of the finite values, evenly spread, with the first and the last."""
        values = [value for value in self.values.get(name, ()) if value is not None]
        if len(values) <= most:
            return values
        last = len(values) - 1
        return [values[round(place * last / (most - 1))] for place in range(most)]
