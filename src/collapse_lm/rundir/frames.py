"""The rows of a run as plain dictionaries, in long form, and as data frames of pandas."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from collapse_lm.errors import UserError
from collapse_lm.rundir.shape import RecordError

if TYPE_CHECKING:
    from collapse_lm.experiment.batch import Text
    from collapse_lm.rundir.reader import RunReader

TableRow = dict[str, Any]


@contextmanager
def reading(reader: "RunReader") -> Iterator[None]:
    """Turn damage to a run, within the body, into an error that names the run."""
    try:
        yield
    except (RecordError, OSError) as error:
        told = str(error)
        if isinstance(error, OSError):
            told = f"{error.filename}: {error.strerror}"
        fix = "`collapse-lm ls DIR` lists the runs in a folder"
        raise UserError.single(str(reader.path), told, "a run that is whole", fix) from error


def rows_for(reader: "RunReader", table: str) -> list[TableRow]:
    """The rows of a table of one run.

    Raises:
        UserError: for a table that there is not, and for a run that is damaged.
    """
    rows = {"updates": update_rows, "samples": sample_rows}
    if table not in rows:
        raise UserError.single("to_pandas", repr(table), "updates or samples")
    with reading(reader):
        return list(rows[table](reader))


def update_rows(reader: "RunReader") -> Iterator[TableRow]:
    """A row per update, with a column per name."""
    for row in reader.updates():
        yield {"update": row.update, **row.values}


def sample_rows(reader: "RunReader", *, per_token: bool = False) -> Iterator[TableRow]:
    """A row per text: `role` is trained on, or probe for one that was drawn apart.

    Args:
        reader: of the run.
        per_token: with its ids and the lists of numbers per token, None where not recorded.
    """
    for row in reader.samples():
        for role, texts in (("trained on", row.texts), ("probe", row.probe)):
            for number, text in enumerate(texts):
                facts = {"update": row.update, "role": role, "number": number}
                facts |= {"origin": text.origin, "prompt": text.prompt_text, "text": text.text}
                facts["tokens"] = len(text.ids)
                yield facts | (_tokens(text) if per_token else {})


def _tokens(text: "Text") -> TableRow:
    numbers = ("ends", "log_probs", "entropies", "base_log_probs")
    return {"ids": list(text.ids)} | {name: getattr(text, name) or None for name in numbers}


def has_pandas() -> bool:
    """True where data frames can be had."""
    return find_spec("pandas") is not None


def frame(rows: Sequence[TableRow]) -> Any:
    """Rows as a data frame.

    Raises:
        UserError: without pandas.
    """
    if not has_pandas():
        raise UserError.single("to_pandas", "no pandas", "pandas", "pip install pandas")
    import pandas

    return pandas.DataFrame(rows)
