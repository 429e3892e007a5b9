"""One row per run directory: what it was and how it ended."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collapse_lm._util.files import read_regular
from collapse_lm.analysis.outcomes import DAMAGE, first_rate
from collapse_lm.config import MOVED
from collapse_lm.config.keys import value_at
from collapse_lm.config.sections import ScheduleConfig
from collapse_lm.config.yaml_text import parse_yaml
from collapse_lm.errors import UserError
from collapse_lm.rundir import RecordError, RunReader, find_runs, has_writer
from collapse_lm.rundir.layout import CONFIG, UPDATES
from collapse_lm.rundir.rows import has_gaps
from collapse_lm.rundir.shape import naming

_SWEEP = "sweep.yaml"  # of a sweep in whose folder `runs` a run lies


def run_table(folder: Path) -> list[dict[str, Any]]:
    """Describe every run in a folder, in path order; a damaged one by what is wrong with it."""
    return [_describe_or_tell(folder, reader) for reader in find_runs(folder)]


def _describe_or_tell(folder: Path, reader: RunReader) -> dict[str, Any]:
    try:
        return _describe(folder, reader)
    except (OSError, RecordError) as error:
        unknown = ("model", "source", "learning_rate", "seed", "updates", "collapse_update")
        return {
            "run": str(reader.path.relative_to(folder)),
            **dict.fromkeys(unknown),
            "swept": {},
            "states": {},
            "status": _told(error),
            "validation": {},
        }


def _told(error: OSError | RecordError) -> str:
    if isinstance(error, PermissionError):
        return f"not readable: {Path(str(error.filename)).name}: {error.strerror}"
    kind = "" if isinstance(error, RecordError) else f"{type(error).__name__}: "
    return f"damaged: {kind}{error}"


def _describe(folder: Path, reader: RunReader) -> dict[str, Any]:
    manifest, summary, seen = reader.manifest(), reader.summary(), reader.snapshot()
    rows = seen.rows
    if manifest["status"] == "running":
        _ = seen.samples  # read for what may be wrong with it
    else:
        reader.check_end(seen)
    config = _read_yaml(reader.path / CONFIG)
    with naming(CONFIG):
        training = config["training"]
        configured_rate = float(training["learning_rate"])
        moves = ScheduleConfig(**training.get("schedule", {})).moves_the_rate
    rate: float | None = first_rate(rows, configured_rate, moves=moves)
    if has_gaps(manifest) and not any("train.lr" in row.values for row in rows):
        rate = None  # what the configuration says is nobody's
    evaluated = [found for row in rows if (found := row.labelled("validation.loss"))]
    with naming(UPDATES):
        validation = {
            name: (loss, evaluated[-1][name])
            for name, loss in (evaluated[0] if evaluated else {}).items()
        }
    return {
        "run": str(reader.path.relative_to(folder)),
        "model": manifest["model"]["reference"],
        "source": manifest.get("made_by") or _source(config.get("source")),
        "swept": _swept(reader.path, config),
        "learning_rate": rate,
        "seed": manifest["seed"],
        "status": _status(reader, str(manifest["status"])),
        "updates": rows[-1].update if rows else None,
        "collapse_update": summary["collapse_update"] if summary else None,
        "states": manifest.get("states", {}),
        "validation": validation,
    }


def _read_yaml(file: Path) -> Any:
    content = read_regular(file)
    with naming(file.name):
        return parse_yaml(file.name, content.decode("utf-8"))


def _source(source: Any) -> str:
    """The kind of a source; of an object from Python the name of its class."""
    if not isinstance(source, Mapping):
        return str(source or "own")
    kind, name = source.get("kind", "own"), source.get("name")
    return f"{kind} {name}" if kind == "python" else str(kind)


def _swept(run: Path, config: Any) -> dict[str, Any]:
    """What the sweep that a run belongs to varies, the seed aside, by dotted key."""
    try:
        spec = _read_yaml(run.parent.parent / _SWEEP)
        keys = {key for place in (spec, *spec.get("arms", ())) for key in _keys(place)}
        return {key: value_at(config, MOVED.get(key, key).split(".")) for key in sorted(keys)}
    except (*DAMAGE, UserError, RecordError):
        return {}


def _keys(place: Any) -> set[str]:
    """Keys that a sweep file, or an arm of it, varies; those of a run's length aside."""
    keys = {*place["grid"], *(key for single in place["runs"] for key in single)}
    own = place["set"] if "base" not in place else ()  # of an arm; those of the file are fixed
    return {key for key in (*keys, *own) if not key.startswith("run.")}


def _status(reader: RunReader, written: str) -> str:
    """The status in the manifest; a run whose process is gone is not running."""
    return "killed" if written == "running" and not has_writer(reader.path) else written
