"""What a sweep file says: a base, values to vary, seeds.

    base: quickstart
    set: {run.max_updates: 200}
    grid:
      training.learning_rate: [1e-5, 1e-4]
      sampling.temperature: [0.8, 1.0]
    seeds: 3

Where arms need values of their own, `arms` lists them; each is crossed with the rest:

    arms:
      - set: {training.optimizer.kind: sgd}
        grid: {training.learning_rate: [0.01, 0.03]}

Knows nothing of the runs that this stands for (see `plan`).
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from collapse_lm._util.files import is_file
from collapse_lm.config.load import Overrides, load_config, parse_value, read_yaml, words_of
from collapse_lm.errors import Problem, UserError

_SWEEPS = resources.files("collapse_lm.config") / "presets" / "sweeps"


def _as_seeds(value: object) -> object:
    """Let a number stand for that many seeds, from 0."""
    return list(range(value)) if isinstance(value, int) and 0 < value < 10**6 else value


class Arm(BaseModel):
    """Runs with values of their own within a sweep."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    set: dict[str, Any] = {}
    """Values that every run of the arm has."""
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    """Lists of values; a run for each combination."""
    runs: list[dict[str, Any]] = []
    """Single runs by their values; each is crossed with the grid."""


class SweepSpec(BaseModel):
    """A sweep as it is written. Frozen, closed; keys are dotted configuration keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    base: str = "quickstart"
    """Preset, or YAML file beside the sweep's, that every run starts from."""
    set: dict[str, Any] = {}
    """Values that every run has."""
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    """Lists of values; a run for each combination."""
    runs: list[dict[str, Any]] = []
    """Single runs by their values, beside or instead of a grid; each is crossed with it."""
    arms: list[Arm] = []
    """Sets of runs with values of their own; each is crossed with the grid and the runs."""
    seeds: Annotated[list[int], Field(min_length=1), BeforeValidator(_as_seeds)] = [0]
    """Seeds, or how many. Without this key a file means the seed of its base."""

    def keys_by_place(self) -> dict[str, list[str]]:
        """The dotted keys under `set`, and under each place where values vary."""
        arms = {
            f"arms.{number}.{place}": list(keys)
            for number, arm in enumerate(self.arms)
            for place, keys in (("set", arm.set), ("grid", arm.grid), ("runs", _keys(arm.runs)))
        }
        return {"set": list(self.set), "grid": list(self.grid), "runs": _keys(self.runs)} | arms


def _keys(runs: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for run in runs for key in run))


def with_overrides(spec: SweepSpec, overrides: Overrides) -> SweepSpec:
    """Return the sweep with overrides added to what every run has.

    Raises:
        UserError: for overrides of another form, and for a key that the sweep varies.
    """
    places = spec.keys_by_place()
    varied = {"seed", *(key for place, keys in places.items() if place != "set" for key in keys)}
    values, problems = dict(spec.set), list[Problem]()
    for override in words_of(overrides):
        key, separator, raw = override.partition("=")
        if not separator:
            problems.append(Problem("--set", override, "key=value with a dotted key"))
        elif key in varied:
            expected = "a key that the sweep does not vary"
            problems.append(Problem("--set", key, expected, "change it in the sweep file"))
        else:
            values[key] = parse_value(key, raw)
    if problems:
        raise UserError(problems)
    return spec.model_copy(update={"set": values})


def sweep_names() -> list[str]:
    """Names of the sweeps that ship with the package, sorted."""
    return sorted(item.name.removesuffix(".yaml") for item in _SWEEPS.iterdir())


def read_sweep(sweep: object) -> SweepSpec:
    """Read a sweep by name, path or content.

    Raises:
        UserError: for what is none; all mistakes of one together.
    """
    if isinstance(sweep, SweepSpec):
        return sweep
    if isinstance(sweep, Mapping):
        spec = _validated(dict(sweep), "sweep")
        return spec if "seeds" in spec.model_fields_set else _with_seed_of_base(spec)
    if isinstance(sweep, (str, Path)):
        return load_sweep(str(sweep))
    got = type(sweep).__name__
    raise UserError.single("sweep", got, "a name, a path, or a mapping as in a sweep file")


def name_of(sweep: object) -> str:
    """What a sweep is called: after its file, or plainly `sweep`."""
    return Path(sweep).stem if isinstance(sweep, (str, Path)) else "sweep"


def load_sweep(reference: str) -> SweepSpec:
    """Read a sweep by name or path.

    Raises:
        UserError: for a file that is missing, not YAML, or not a sweep; all of its
            mistakes together.
    """
    if reference in sweep_names():
        return parse_sweep(str(_SWEEPS / f"{reference}.yaml"))
    if not is_file(reference):
        raise UserError.single(
            "sweep", reference, f"a YAML file, or one of {', '.join(sweep_names())}"
        )
    spec = parse_sweep(reference)
    beside = os.path.join(os.path.dirname(reference), spec.base)  # noqa: PTH118, PTH120
    base = beside if os.path.isfile(beside) else spec.base  # noqa: PTH113
    spec = spec.model_copy(update={"base": base})
    return spec if "seeds" in spec.model_fields_set else _with_seed_of_base(spec)


def _with_seed_of_base(spec: SweepSpec) -> SweepSpec:
    with suppress(UserError):  # told when the runs are planned
        return spec.model_copy(update={"seeds": [load_config(spec.base).seed]})
    return spec


def parse_sweep(path: str) -> SweepSpec:
    """Read a sweep file as it is."""
    return _validated(read_yaml(path), path)


def _validated(tree: object, where: str) -> SweepSpec:
    try:
        return SweepSpec.model_validate(tree)
    except ValidationError as error:
        raise UserError([_problem(where, details) for details in error.errors()]) from None


def _problem(path: str, details: Any) -> Problem:
    where = ".".join(map(str, details["loc"])) or path
    if details["type"] == "extra_forbidden":
        known = ", ".join(SweepSpec.model_fields)
        return Problem(where, "an unknown key", f"one of {known}")
    got = repr(details["input"])
    fix = "name at least one value" if details["type"] == "too_short" else None
    return Problem(where, got[:80], details["msg"].removeprefix("Input should be "), fix)
