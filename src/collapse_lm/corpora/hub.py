"""Corpora from the Hugging Face hub, through the `datasets` library (extra `hub`).

What `datasets` has in its cache is read without a network. The rows are joined back into
the layout of the original files, so that a token count does not depend on where a corpus
came from.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from collapse_lm._util.extras import install
from collapse_lm._util.hub import require_hub
from collapse_lm.errors import MachineError, UserError

INSTALL = install("hub")
_SPLIT = "validation"


class HubText(NamedTuple):
    """A text of the hub, the dataset it was read from, and the commit of that dataset."""

    text: str
    source: str
    revision: str


class _Dataset(NamedTuple):
    path: str
    name: str | None
    revision: str | None
    column: str
    row_form: str
    empty_row: str  # what the original file holds where the hub has an empty row


_DATASETS = {
    "wikitext2": _Dataset("Salesforce/wikitext", "wikitext-2-v1", None, "text", "{}", " \n"),
    "wikitext2-raw": _Dataset(
        "Salesforce/wikitext", "wikitext-2-raw-v1", None, "text", "{}", " \n"
    ),
    # Its loading script no longer loads; the hub's own conversion does.
    "ptb": _Dataset(
        "ptb-text-only/ptb_text_only", None, "refs/convert/parquet", "sentence", " {} \n", ""
    ),
}


def read_corpus(name: str) -> HubText:
    """Return a validation split of the hub: from the cache of `datasets`, else from the hub.

    Raises:
        UserError: when `datasets` is missing, or the text is not in its cache and the hub
            does not answer (which takes seconds).
        MachineError: when the download or the reading fails.
    """
    spec = _DATASETS[name]
    where = f"corpus {name}"
    fix = f"put {name}.valid.txt in a folder and name the folder in COLLAPSE_LM_DATA"
    if not _has_datasets():
        got = "no local file, and the package datasets is missing"
        expected = "the text in a file, or the package that reads it from the hub"
        raise UserError.single(where, got, expected, f"{INSTALL}; or {fix}")
    cached = find_cached(name)
    if cached:
        revision = cached.parent.name
        with _telling(name, f"remove {cached.parent}, or {fix}"):
            text = _join(_read_cached(cached), spec)
    else:
        revision = require_hub(where, spec.path, kind="dataset", revision=spec.revision, fix=fix)
        with _telling(name, fix):
            text = _join(_download(spec, revision), spec)
    dataset = f"{spec.path} {spec.name or ''}".strip()
    return HubText(text, f"hub {dataset} at {revision}", revision)


def find_cached(name: str) -> Path | None:
    """The file of a validation split in the cache of `datasets`; of several the newest.

    `datasets` keeps one folder per commit: NAMESPACE___NAME/CONFIG/VERSION/COMMIT. It is
    looked for by name, since asking the library takes seconds, and a network.
    """
    if not _has_datasets():
        return None
    spec = _DATASETS[name]
    namespace, dataset = spec.path.split("/")
    below = f"{spec.name or '*'}/*/*/{dataset}-{_SPLIT}.arrow"
    whole = [
        path
        for folder in (f"{namespace}___{dataset}", dataset)  # the second by its former name
        for path in _cache().glob(f"{folder}/{below}")
        if _is_complete(path.parent)
    ]
    return max(whole, key=lambda path: path.parent.stat().st_mtime, default=None)


def join_rows(rows: Iterable[str], row_form: str, empty_row: str) -> str:
    """Join the rows of a dataset into the text of the original file."""
    return "".join(row_form.format(row) if row else empty_row for row in rows)


def _join(rows: Any, spec: _Dataset) -> str:
    return join_rows(rows[spec.column], spec.row_form, spec.empty_row)


def _has_datasets() -> bool:
    return find_spec("datasets") is not None


def _cache() -> Path:
    """The cache of `datasets`, where its variables or its defaults put it."""
    environment = os.environ
    base = environment.get("XDG_CACHE_HOME") or "~/.cache"
    home = environment.get("HF_HOME") or f"{base}/huggingface"
    return Path(os.path.expanduser(environment.get("HF_DATASETS_CACHE") or f"{home}/datasets"))  # noqa: PTH111 (Path.expanduser raises where there is no home)


def _is_complete(folder: Path) -> bool:
    """`datasets` writes beside the place, and the information last."""
    return folder.suffix != ".incomplete" and (folder / "dataset_info.json").is_file()


def _read_cached(file: Path) -> Any:
    import datasets

    return datasets.Dataset.from_file(str(file))


def _download(spec: _Dataset, revision: str) -> Any:
    import datasets

    return datasets.load_dataset(spec.path, spec.name, revision=revision, split=_SPLIT)


@contextmanager
def _telling(name: str, fix: str) -> Iterator[None]:
    """Name the corpus in whatever the network or the library raise: each has its own tree."""
    try:
        yield
    except Exception as error:
        message = f"corpus {name} could not be loaded: {error}\n  fix       {fix}"
        raise MachineError(message) from error
