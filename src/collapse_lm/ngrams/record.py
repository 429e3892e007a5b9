"""The folder of an evaluation: what it was asked (settings.json), and what came out (summary.json).

On which machine and with which code that was found stands in machine.json.

It is no run directory. The same call finds what is there and goes on with it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from collapse_lm._util.files import read_regular, writing
from collapse_lm._util.json_text import to_json
from collapse_lm.config import Config
from collapse_lm.config.identity import flat
from collapse_lm.errors import Problem, UserError
from collapse_lm.rundir.layout import SUMMARY, RunDirectory, make_directory
from collapse_lm.rundir.manifest import made_here

SETTINGS, MACHINE = "settings.json", "machine.json"


@dataclass(frozen=True)
class EvaluationResult:
    """An evaluation that ended: its folder and its summary."""

    directory: Path
    summary: dict[str, Any]


@dataclass(frozen=True)
class EvaluationDirectory:
    """The folder of one evaluation."""

    path: Path

    @classmethod
    def opened(
        cls, out: Path | str | None, name: str, seed: int, settings: Mapping[str, Any]
    ) -> "EvaluationDirectory":
        """Make the folder of an evaluation, or find the one that it began.

        Args:
            out: the place; None makes a new one below runs/.
            name: in that of a new one.
            seed: likewise.
            settings: all that decides a number.

        Raises:
            UserError: for a place that holds something else.
            MachineError: where no folder can be made.
        """
        if out is not None and (Path(out) / SETTINGS).exists():
            _require_same(Path(out), json.loads(to_json(settings)))
            return cls(Path(out))
        if out is not None:
            RunDirectory.check_free(Path(out))
        path = make_directory(name, seed) if out is None else Path(out)
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
        RunDirectory(path).write_json(SETTINGS, settings)
        return cls(path)

    @property
    def result(self) -> EvaluationResult | None:
        """What came out, where it is over."""
        if not (self.path / SUMMARY).exists():
            return None
        return EvaluationResult(self.path, _read(self.path / SUMMARY))

    def finish(self, summary: Mapping[str, Any], device: torch.device) -> EvaluationResult:
        """Write what came out, and on which device."""
        RunDirectory(self.path).write_json(MACHINE, made_here(device))
        return EvaluationResult(self.path, RunDirectory(self.path).write_json(SUMMARY, summary))


def _require_same(path: Path, settings: Mapping[str, Any]) -> None:
    before = _read(path / SETTINGS)
    others = [key for key in {**before, **settings} if before.get(key) != settings.get(key)]
    if others:
        key = others[0]
        raise UserError.single(
            f"--out {path}",
            f"a folder of another evaluation: {key} {before.get(key)!r}, not {settings.get(key)!r}",
            "a new folder, or one that the same call began",
            "choose another --out",
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError) as error:
        told = getattr(error, "strerror", None) or str(error)
        raise UserError.single(str(path), told, "the JSON that an evaluation wrote") from None
    if not isinstance(found, dict):
        raise UserError.single(str(path), "no object", "the JSON that an evaluation wrote")
    return found


def require_only(
    config: Config,
    base: Config,
    allowed: tuple[str, ...],
    but: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Refuse overrides that an evaluation has no use for.

    Args:
        config: with the overrides.
        base: without them.
        allowed: keys, and sections that end in a dot.
        but: keys of these sections that are not, each with what helps instead.

    Raises:
        UserError: naming every other key.
    """
    given, own = flat(config), flat(base)
    problems = [
        Problem(key, repr(given.get(key)), f"{own.get(key)!r} in this evaluation", but.get(key))
        for key in sorted({*given, *own})
        if given.get(key) != own.get(key) and (key in but or not key.startswith(allowed))
    ]
    if problems:
        raise UserError(problems)
