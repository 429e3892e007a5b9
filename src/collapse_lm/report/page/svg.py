"""Small line charts as SVG, for a page that is read without its scripts. Pure.

Text is text in the page's own font; colours are those of Okabe and Ito, and lines of more
than one look differ by their dashes too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup, escape

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "currentColor")
_DASHES = ("", "6 3", "2 3", "8 3 2 3")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 280, 62, 14, 12, 42
_MOST_POINTS = 240  # of a line
_LEGEND = 12  # entries
_COLUMNS = 3
_LINE = 18  # height of a line of the legend
_LETTERS = 32  # of an entry
_LARGEST, _LEAST = 1e300, 1e-300  # of a value, and of a range
_FLAT = 1e-12  # of a value: a smaller range is none

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        label: in the legend; lines of one look may share it.
        points: in order of x.
        look: number of its colour and dash.
        is_step: true for a curve that holds its value until the next point.
        lower, upper: of a band, as points; empty without one.
    """

    label: str
    points: Sequence[Point]
    look: int
    is_step: bool = False
    lower: Sequence[Point] = ()
    upper: Sequence[Point] = ()


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def chart(
    title: str, lines: Sequence[Line], x_label: str, y_label: str, *, from_zero: bool = False
) -> Markup:
    """A chart as an SVG element, with its title as alternative text."""
    lines = [replace(line, points=_drawable(line.points)) for line in lines]
    points = [point for line in lines for point in (*line.points, *line.lower, *line.upper)]
    if not points:
        return Markup("")
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_ticks, y_ticks = (
        ticks(min(xs), max(xs), whole=True),
        ticks(min(0, *ys) if from_zero else min(ys), max(ys)),
    )
    right, floor = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    x = _Scale(min(xs[0], x_ticks[0]), max(max(xs), x_ticks[-1]), _LEFT, right)
    y = _Scale(y_ticks[0], y_ticks[-1], floor, _TOP)
    entries = _legend_entries(lines)
    height = _HEIGHT + _LINE * math.ceil(len(entries) / _COLUMNS)
    parts = [
        *_grid(x, y, x_ticks, y_ticks),
        *_axis_labels(x_label, y_label),
        *(_band(line, x, y) for line in lines if line.lower),
        *(_path(line, x, y) for line in lines),
        *_legend(entries),
    ]
    return Markup(
        '<svg class="chart" role="img" viewBox="0 0 {} {}" aria-label="{}" font-size="12" '
        'fill="currentColor" style="max-width:48rem">{}</svg>'
    ).format(_WIDTH, height, title, Markup("").join(parts))


def _drawable(points: Sequence[Point]) -> list[Point]:
    """Points but those so far out that a scale to them has no numbers."""
    return [(x, y) for x, y in points if abs(y) <= _LARGEST]


def ticks(low: float, high: float, *, whole: bool = False, about: int = 6) -> list[float]:
    """Round numbers that span a range, in even steps."""
    if high - low <= max(_LEAST, _FLAT * max(abs(low), abs(high))):
        half = max(0.5, abs(high) / 10)
        low, high = (low - half, high + half) if not whole else (low, low + 1)
    raw = (high - low) / about
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw)
    step = max(1.0, step) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [place * step for place in range(first, last + 1)]


def told(value: float) -> str:
    """A number of an axis."""
    text = f"{value:.6g}"
    return text.replace("-", "−")


def spread(points: Sequence[Point], most: int = _MOST_POINTS) -> list[Point]:
    """At most so many points, evenly spread, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    last = len(points) - 1
    return [points[round(place * last / (most - 1))] for place in range(most)]


def _grid(x: _Scale, y: _Scale, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> list[Markup]:
    line = Markup('<path d="M{:.1f} {:.1f}H{:.1f}" stroke="currentColor" stroke-opacity=".15"/>')
    word = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    rows = [line.format(x.start, y(tick), x.end) for tick in y_ticks]
    rows += [word.format(x.start - 7, y(tick) + 4, "end", told(tick)) for tick in y_ticks]
    rows += [word.format(x(tick), y.start + 17, "middle", told(tick)) for tick in x_ticks]
    return rows


def _axis_labels(x_label: str, y_label: str) -> list[Markup]:
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    return [
        Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(
            (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_label
        ),
        Markup(
            '<text x="14" y="{0}" text-anchor="middle" transform="rotate(-90 14 {0})">{1}</text>'
        ).format(middle, y_label),
    ]


def _look(number: int) -> tuple[str, str]:
    return _COLOURS[number % len(_COLOURS)], _DASHES[number % len(_DASHES)]


def _path(line: Line, x: _Scale, y: _Scale) -> Markup:
    colour, dash = _look(line.look)
    return Markup(
        '<path d="{}" fill="none" stroke="{}" stroke-width="1.6" stroke-dasharray="{}"/>'
    ).format(_track(line.points, x, y, is_step=line.is_step), colour, dash)


def _track(points: Sequence[Point], x: _Scale, y: _Scale, *, is_step: bool) -> str:
    words = []
    for place, (at, value) in enumerate(points if is_step else spread(points)):
        across, down = f"{x(at):.1f}", f"{y(value):.1f}"
        if place and is_step:
            words.append(f"H{across}V{down}")
        else:
            words.append(f"{'L' if place else 'M'}{across} {down}")
    return "".join(words)


def _band(line: Line, x: _Scale, y: _Scale) -> Markup:
    """Between two step curves."""
    there = _track(line.lower, x, y, is_step=True)
    steps = list(line.upper)
    back = "".join(
        f"L{x(later):.1f} {y(value):.1f}L{x(at):.1f} {y(value):.1f}"
        for (at, value), (later, _) in zip(
            reversed(steps), reversed([*steps[1:], steps[-1]]), strict=True
        )
    )
    return Markup('<path d="{}{}Z" fill="{}" fill-opacity=".12"/>').format(
        there, back, _look(line.look)[0]
    )


def _legend_entries(lines: Sequence[Line]) -> list[tuple[str, int]]:
    """(label, look) of each that differs; the last tells how many more there are."""
    found = list(dict.fromkeys((line.label, line.look) for line in lines))
    if len(found) <= _LEGEND:
        return found
    return [*found[: _LEGEND - 1], (f"and {len(found) - _LEGEND + 1} more", -1)]


def _legend(entries: Sequence[tuple[str, int]]) -> list[Markup]:
    parts = []
    for place, (label, look) in enumerate(entries):
        left = _LEFT + (place % _COLUMNS) * (_WIDTH - _LEFT) / _COLUMNS
        down = _HEIGHT + 12 + _LINE * (place // _COLUMNS)
        if look >= 0:
            colour, dash = _look(look)
            parts.append(
                Markup(
                    '<path d="M{:.0f} {}h24" stroke="{}" stroke-width="2" stroke-dasharray="{}"/>'
                ).format(left, down - 4, colour, dash)
            )
        short = label if len(label) <= _LETTERS else f"{label[: _LETTERS - 1]}…"
        parts.append(
            Markup('<text x="{:.0f}" y="{}">{}</text>').format(left + 30, down, escape(short))
        )
    return parts
