"""The runs of a sweep, each with a name that stays the same from one start to the next."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from collapse_lm.config import MOVED, Config, flat, identity, load_config
from collapse_lm.errors import Problem, UserError
from collapse_lm.sweeps.spec import Arm, SweepSpec

DIGITS = 8  # of an identity, at the end of a run's name
MANY = 200  # runs that are not started without being asked for
_MOST = 100_000  # runs of a sweep
_LENGTH = "run."  # keys of the length of a run and of what it leaves: no sweep is over these


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep.

    Attributes:
        name: of its directory: what varies, the seed, and eight digits of its identity.
        config: complete.
        values: what varies, by dotted key.
    """

    name: str
    config: Config
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """The runs of a sweep, in order: seed by seed, so that early results cover the grid."""

    runs: tuple[PlannedRun, ...]

    @property
    def keys(self) -> list[str]:
        """Dotted keys that the sweep is over, the seed aside, in the order of its file."""
        return list(dict.fromkeys(key for run in self.runs for key in run.values))

    @property
    def varied(self) -> set[str]:
        """Dotted keys, the seed aside, in which runs differ."""
        keys = {key for run in self.runs for key in run.values}
        return {key for key in keys if len({repr(run.values.get(key)) for run in self.runs}) > 1}


def plan_sweep(spec: SweepSpec) -> Plan:
    """Return every run that a sweep stands for.

    Raises:
        UserError: for a key or value that no configuration has, and for runs that would
            be the same; all mistakes together.
    """
    check_size(spec)
    _refuse_clashes(spec)
    fixed = _as_overrides(spec.set)
    runs: list[PlannedRun] = []
    problems: dict[str, Problem] = {}
    for seed in spec.seeds:
        for given in _combinations(spec):
            words = [*fixed, *_as_overrides({**given, "seed": seed})]
            try:
                config = load_config(spec.base, words)
            except UserError as error:
                problems |= {str(problem): problem for problem in error.problems}
            else:
                values = {k: v for k, v in given.items() if not k.startswith(_LENGTH)}
                runs.append(PlannedRun(_name(values, seed, config), config, values))
    if problems:
        raise UserError(list(problems.values()))
    _refuse_duplicates(runs)
    return Plan(tuple(runs))


def check_size(spec: SweepSpec, most: int = _MOST) -> None:
    """Count the runs of a sweep before any is worked out.

    Raises:
        UserError: for more than `most`.
    """
    count = len(spec.seeds) * _product(spec) * (sum(map(_product, spec.arms)) or 1)
    if count > most:
        fix = "--dry-run shows them, --yes starts them" if most == MANY else "make several of it"
        raise UserError.single("sweep", f"{count:,} runs", f"at most {most:,} at once", fix)


def _refuse_clashes(spec: SweepSpec) -> None:
    """Refuse a key in two places, one of which would be without effect."""
    places = spec.keys_by_place()
    problems = [
        Problem(f"{place}.seed", "a seed", "seeds under `seeds`", "e.g. seeds: [7]")
        for place, keys in places.items()
        if "seed" in keys
    ]
    for first, second in combinations(places, 2):
        if _of_two_arms(first, second):
            continue
        for key in sorted({*places[first]} & {*places[second]} - {"seed"}):
            got, fix = f"also under `{second}`", f"drop it from `{first}` or from `{second}`"
            problems.append(Problem(f"{first}.{key}", got, "a key in one place", fix))
    if problems:
        raise UserError(problems)


def _of_two_arms(first: str, second: str) -> bool:
    arms = [place.rpartition(".")[0] for place in (first, second)]
    return all(arms) and arms[0] != arms[1]


def _product(runs: SweepSpec | Arm) -> int:
    """How many combinations of values there are, arms aside."""
    return max(1, len(runs.runs)) * math.prod(map(len, runs.grid.values()))


def _combinations(spec: SweepSpec) -> Iterator[dict[str, Any]]:
    """The values of each run, the seed aside."""
    for arm in spec.arms or [Arm()]:
        for own in _crossed(arm):
            for values in _crossed(spec):
                yield {**arm.set, **own, **values}


def _crossed(runs: SweepSpec | Arm) -> Iterator[dict[str, Any]]:
    for single in runs.runs or [{}]:
        for chosen in product(*runs.grid.values()):
            yield {**dict(zip(runs.grid, chosen, strict=True)), **single}


def _as_overrides(values: Mapping[str, Any]) -> list[str]:
    """Write values as JSON, which is YAML; a date that YAML saw is the text it was."""
    return [
        f"{key}={json.dumps(value, ensure_ascii=False, default=str)}"
        for key, value in values.items()
    ]


def _name(values: Mapping[str, Any], seed: int, config: Config) -> str:
    """E.g. learning_rate=0.0001-seed0-1a2b3c4d, however the rate was spelled."""
    known = flat(config)
    places = {key: MOVED.get(key, key) for key in values}
    varied = [f"{key.rpartition('.')[2]}={_short(known.get(p, ''))}" for key, p in places.items()]
    return "-".join([*varied, f"seed{seed}", identity(config)[:DIGITS]])


def _short(value: Any) -> str:
    """A value as part of a file name: of a path its last part."""
    text = str(value).rstrip("/").rpartition("/")[2]
    return re.sub(r"[^\w.+-]+", "_", text)[:40]


def _refuse_duplicates(runs: Sequence[PlannedRun]) -> None:
    first: dict[str, PlannedRun] = {}
    problems = []
    for run in runs:
        same = first.setdefault(identity(run.config), run)
        if same is not run:
            got = f"{run.name}, which is the same run as {same.name}"
            problems.append(Problem("sweep", got, "runs that differ", "drop one of the two"))
    if problems:
        raise UserError(problems)
