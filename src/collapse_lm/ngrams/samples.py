"""Many documents drawn from a model, batch by batch, each batch kept on disk once it is drawn.

A batch has random numbers of its own, by its number, so whoever goes on draws what would have
been drawn.
"""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from collapse_lm._util.files import appearing, read_regular
from collapse_lm.errors import UserError
from collapse_lm.experiment.sources.own import OwnSamples
from collapse_lm.inference import Network

_LOG = logging.getLogger(__name__)
FOLDER = "samples"
_SECONDS = 20  # between two notices

Ids = tuple[int, ...]


def documents(
    source: OwnSamples,
    network: Network,
    tokens: int,
    folder: Path,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Ids] | None:
    """Draw documents until there are so many tokens.

    Args:
        source: draws a batch.
        network: that samples.
        tokens: of all of them at least.
        folder: holds a file per batch; those that it has are read.
        should_stop: asked after each batch.

    Returns:
        Token ids of each document without its start token, in the order in which they were
        drawn; None where drawing was stopped.

    Raises:
        UserError: for a file that is no batch.
        MachineError: where the disk fails.
    """
    found, count, batch = list[Ids](), 0, 0
    begin, told, before = time.perf_counter(), time.perf_counter(), None
    while count < tokens:
        batch += 1
        path = folder / f"{batch:06d}.npz"
        if path.exists():
            new = _read(path)
        else:
            before = count if before is None else before
            new = list(source.sample(network, batch).samples)
            _write(path, new)
            if should_stop():
                return None
        found += new
        count += sum(map(len, new))
        if before is not None and time.perf_counter() - told > _SECONDS:
            told = time.perf_counter()
            rate = (count - before) / (told - begin)
            _LOG.info("%d of %d tokens drawn, %.0f a second", count, tokens, rate)
    return found


def first_tokens(texts: Sequence[Ids], tokens: int) -> list[Ids]:
    """The first texts, so many tokens in all; the last one is cut."""
    kept, left = list[Ids](), tokens
    for text in texts:
        if left <= 0:
            break
        kept.append(text[:left])
        left -= len(text)
    return kept


def _write(path: Path, texts: Sequence[Ids]) -> None:
    path.parent.mkdir(exist_ok=True)
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    ids = np.array([token for text in texts for token in text], dtype=np.int64)
    with appearing(path) as place, place.open("xb") as file:
        np.savez_compressed(file, ids=ids, lengths=lengths)


def _read(path: Path) -> list[Ids]:
    try:
        read_regular(path)
        with np.load(path, allow_pickle=False) as held:
            parts = np.split(held["ids"], np.cumsum(held["lengths"])[:-1])
    except (OSError, ValueError, KeyError, EOFError, IndexError) as error:
        told = getattr(error, "strerror", None) or str(error)
        fix = "remove it, and it is drawn again"
        raise UserError.single(str(path), told, "a batch of samples", fix) from None
    return [tuple(part.tolist()) for part in parts]
