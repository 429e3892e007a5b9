"""A curve of one number over the updates, drawn in characters. Knows no terminal."""

import itertools
import math
from collections.abc import Sequence

_MOST = 1024  # points that are kept; past that neighbours are averaged
_LARGEST = 1e300  # of which a sum of points is still a number
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a braille character, by row
_BLANK = 0x2800
_ACROSS, _DOWN = 2, 4  # dots of a character


class Curve:
    """Points of a run, in memory of a fixed size.

    Attributes:
        first: the first value, NaN before there is one.
        last: the newest.
    """

    def __init__(self) -> None:
        self.first = self.last = math.nan
        self._points: list[tuple[float, float]] = []
        self._pending: list[tuple[float, float]] = []
        self._together = 1  # values that make a point

    def add(self, update: int, value: float) -> None:
        """Take the value of an update; one that is not finite is no point."""
        if not abs(value) < _LARGEST:  # nor is NaN
            return
        if math.isnan(self.first):
            self.first = value
        self.last = value
        self._pending.append((update, value))
        if len(self._pending) >= self._together:
            self._points.append(_mean(self._pending))
            self._pending = []
        if len(self._points) >= _MOST:
            pairs = zip(self._points[::2], self._points[1::2], strict=False)
            self._points = [_mean(pair) for pair in pairs]
            self._together *= 2

    @property
    def points(self) -> list[tuple[float, float]]:
        """(update, value) in order, the newest included."""
        return [*self._points, *([_mean(self._pending)] if self._pending else [])]


def _mean(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    xs, ys = zip(*points, strict=True)
    return math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)


def braille(points: Sequence[tuple[float, float]], width: int, height: int) -> list[str]:
    """Draw points as a connected line from the first x to the last, the lowest y at the bottom.

    Args:
        points: (x, y), finite, x in order.
        width: in characters, each two dots wide.
        height: in characters, each four dots high.

    Returns:
        `height` lines of `width` braille characters; blanks without points.
    """
    across, down = width * _ACROSS, height * _DOWN
    cells = [[_BLANK] * width for _ in range(height)]
    before: int | None = None
    for x, level in enumerate(_levels(_columns(points, across), down)):
        if level is None:
            continue
        # The line between two columns is drawn in the later one, up to its own dot.
        near = level if before is None or abs(level - before) < 2 else before
        step = 1 if near <= level else -1
        for y in range(near if near == level else near + step, level + step, step):
            row, dot = divmod(down - 1 - y, _DOWN)
            cells[row][x // _ACROSS] |= _DOTS[dot][x % _ACROSS]
        before = level
    return ["".join(map(chr, row)) for row in cells]


def _columns(points: Sequence[tuple[float, float]], count: int) -> list[float | None]:
    """The mean of the points in each column; between two columns that have some, the line."""
    if not points or count < 1:
        return [None] * count
    start, span = points[0][0], points[-1][0] - points[0][0]
    inside: dict[int, list[float]] = {}
    for x, y in points:
        inside.setdefault(round((x - start) / span * (count - 1)) if span else 0, []).append(y)
    means = {place: math.fsum(ys) / len(ys) for place, ys in inside.items()}
    found: list[float | None] = [None] * count
    known = sorted(means)
    for left, right in itertools.pairwise(known):
        for place in range(left, right):
            share = (place - left) / (right - left)
            found[place] = means[left] * (1 - share) + means[right] * share
    found[known[-1]] = means[known[-1]]
    return found


def _levels(values: Sequence[float | None], count: int) -> list[int | None]:
    """Each value as one of `count` levels; all in the middle where they are alike."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    if high <= low:
        return [None if value is None else (count - 1) // 2 for value in values]
    shares = (None if value is None else (value - low) / (high - low) for value in values)
    return [None if share is None else round(share * (count - 1)) for share in shares]
