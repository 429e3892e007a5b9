"""Corpora from the Hugging Face hub, through the `datasets` library (extra `hub`).

The rows are joined back into the layout of the original files, so that a token
count does not depend on where a corpus came from.
"""

from collections.abc import Iterable
from importlib.util import find_spec
from typing import NamedTuple

from collapse_lm._util.hub import require_hub
from collapse_lm.errors import MachineError, UserError

INSTALL = "pip install 'datasets>=4,<6'"


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


def read_corpus(name: str) -> tuple[str, str]:
    """Return (text, source) of a validation split on the hub.

    Raises:
        UserError: when `datasets` is missing or the hub cannot be reached.
    """
    spec = _DATASETS[name]
    fix = f"put {name}.valid.txt in a folder and name the folder in COLLAPSE_LM_DATA"
    if find_spec("datasets") is None:
        raise UserError.single(
            f"corpus {name}", "no local file, and the package datasets is missing", INSTALL, fix
        )
    require_hub(f"corpus {name}", spec.path, kind="dataset", fix=fix)
    import datasets

    try:
        rows = datasets.load_dataset(
            spec.path, spec.name, revision=spec.revision, split="validation"
        )
    except Exception as error:  # the network's and the library's own trees of errors
        message = f"corpus {name} could not be loaded: {error}\n  fix       {fix}"
        raise MachineError(message) from error

    text = join_rows(rows[spec.column], spec.row_form, spec.empty_row)
    return text, f"hub {spec.path} {spec.name or ''}".strip()


def join_rows(rows: Iterable[str], row_form: str, empty_row: str) -> str:
    """Join the rows of a dataset into the text of the original file."""
    return "".join(row_form.format(row) if row else empty_row for row in rows)
