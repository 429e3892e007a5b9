"""One row per run directory: what it was and how it ended."""

from pathlib import Path
from typing import Any

from collapse_lm._util.files import read_regular
from collapse_lm.analysis.outcomes import first_rate
from collapse_lm.config.yaml_text import parse_yaml
from collapse_lm.rundir import RecordError, RunReader, find_runs, has_writer
from collapse_lm.rundir.layout import CONFIG, UPDATES
from collapse_lm.rundir.shape import naming


def run_table(folder: Path) -> list[dict[str, Any]]:
    """Describe every run in a folder, in path order; a damaged one by what is wrong with it."""
    return [_describe_or_tell(folder, reader) for reader in find_runs(folder)]


def _describe_or_tell(folder: Path, reader: RunReader) -> dict[str, Any]:
    try:
        return _describe(folder, reader)
    except (OSError, RecordError) as error:
        unknown = ("model", "learning_rate", "seed", "updates", "collapse_update")
        return {
            "run": str(reader.path.relative_to(folder)),
            **dict.fromkeys(unknown),
            "status": _told(error),
            "validation": {},
        }


def _told(error: OSError | RecordError) -> str:
    if isinstance(error, PermissionError):
        return f"not readable: {error.strerror}"
    kind = "" if isinstance(error, RecordError) else f"{type(error).__name__}: "
    return f"damaged: {kind}{error}"


def _describe(folder: Path, reader: RunReader) -> dict[str, Any]:
    manifest, summary, seen = reader.manifest(), reader.summary(), reader.snapshot()
    rows = seen.rows
    if manifest["status"] == "running":
        _ = seen.samples  # read for what may be wrong with it
    else:
        reader.check_end(seen)
    evaluated = [found for row in rows if (found := row.labelled("validation.loss"))]
    with naming(UPDATES):
        validation = {
            name: (loss, evaluated[-1][name])
            for name, loss in (evaluated[0] if evaluated else {}).items()
        }
    return {
        "run": str(reader.path.relative_to(folder)),
        "model": manifest["model"]["reference"],
        "learning_rate": first_rate(rows, _configured_rate(reader.path / CONFIG)),
        "seed": manifest["seed"],
        "status": _status(reader, str(manifest["status"])),
        "updates": rows[-1].update if rows else None,
        "collapse_update": summary["collapse_update"] if summary else None,
        "validation": validation,
    }


def _configured_rate(config: Path) -> float:
    content = read_regular(config)
    with naming(config.name):
        found = parse_yaml(config.name, content.decode("utf-8"))["training"]["learning_rate"]
        return float(found)


def _status(reader: RunReader, written: str) -> str:
    """The status in the manifest; a run whose process is gone is not running."""
    return "killed" if written == "running" and not has_writer(reader.path) else written
