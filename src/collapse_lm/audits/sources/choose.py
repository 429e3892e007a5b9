"""Which format lies at some paths: found by what stands in the files."""

import os
from collections.abc import Sequence
from pathlib import Path

from collapse_lm._util.files import READ_FIX, require_regular
from collapse_lm.audits.sources.base import Source, natural
from collapse_lm.audits.sources.folders import RunSamples, TextFiles
from collapse_lm.audits.sources.lines import Lines
from collapse_lm.audits.sources.tables import Tables
from collapse_lm.errors import UserError
from collapse_lm.rundir.layout import CONFIG, MANIFEST, SAMPLES

_TABLE, _LINES, _TEXT = "parquet", "jsonl", "txt"
_SUFFIXES = {".parquet": _TABLE, ".jsonl": _LINES, ".ndjson": _LINES, ".txt": _TEXT}
_EXPECTED = "JSON lines, Parquet, .txt files, or a run directory"
_OF_TRL = "completions"  # in the output directory of a trainer of trl
_HEAD = 4096  # bytes by which a file without a known name is known


def source_of(paths: Sequence[Path], text: str | None = None, by: str | None = None) -> Source:
    """The texts at some paths, which must be of one format.

    Args:
        paths: files, one folder, or a run directory.
        text: column of the text.
        by: column of the groups, or `file`.

    Raises:
        UserError: for a path that is not there or holds no texts, and for formats that do not
            go together.
    """
    try:
        return _source(paths, text, by)
    except OSError as error:
        fix = READ_FIX if isinstance(error, PermissionError) else None
        told = error.strerror or str(error)
        raise UserError.single(str(error.filename or paths[0]), told, _EXPECTED, fix) from None


def _source(paths: Sequence[Path], text: str | None, by: str | None) -> Source:
    if not paths:
        raise UserError.single("PATH", "none", _EXPECTED)
    if len(paths) == 1 and _is_run(paths[0]):
        return RunSamples(paths[0], by)
    files = [file for path in paths for file in _files(path)]
    kinds = {kind: [f for f in files if _kind(f) == kind] for kind in (_TABLE, _LINES, _TEXT)}
    found = {kind: of for kind, of in kinds.items() if of}
    if len(found) != 1:
        told = " and ".join(f"{len(of)} .{kind}" for kind, of in found.items()) or "no such file"
        fix = "name the files of one format" if found else None
        raise UserError.single(", ".join(map(str, paths))[:200], told, _EXPECTED, fix)
    ((kind, files),) = found.items()
    if kind == _TEXT:
        if text is not None:
            raise UserError.single(f"--text {text}", "texts without columns", "no --text")
        root = paths[0] if os.path.isdir(paths[0]) else Path(os.path.commonpath(_parents(files)))  # noqa: PTH112
        return TextFiles(files, root, by)
    return (Tables if kind == _TABLE else Lines)(files, text, by)


def _parents(files: Sequence[Path]) -> list[Path]:
    return [file.parent for file in files]


def _is_run(path: Path) -> bool:
    return (path / SAMPLES).is_file() and any((path / n).is_file() for n in (MANIFEST, CONFIG))


def _files(path: Path) -> list[Path]:
    """The file itself; of a folder those of known formats in it, else those below it, by name."""
    if not os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises for a name too long)
        require_regular(path)
        return [path]
    inner = path / _OF_TRL
    path = inner if any(inner.glob("*.parquet")) else path
    found = [item for item in _below(path) if item.suffix.lower() in _SUFFIXES]
    here = [item for item in found if item.parent == path and item.suffix.lower() != ".txt"]
    return sorted(here or found, key=lambda item: natural(item.relative_to(path).as_posix()))


def _below(folder: Path) -> list[Path]:
    """Files below a folder; hidden ones and links to folders are left out."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place) / name for name in names if not name.startswith(".")]
    return found


def _kind(file: Path) -> str:
    if (known := _SUFFIXES.get(file.suffix.lower())) is not None:
        return known
    with file.open("rb") as content:
        head = content.read(_HEAD).lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"PAR1"):
        return _TABLE
    if head.startswith(b"["):
        fix = f"jq -c '.[]' {file.name} > {file.stem}.jsonl"
        raise UserError.single(str(file), "a JSON array", "JSON lines: one object per line", fix)
    return _LINES if head.startswith(b"{") else _TEXT
