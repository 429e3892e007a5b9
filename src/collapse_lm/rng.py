"""Named random streams: the only source of random numbers in the project.

A stream depends on (run seed, purpose, update) alone, so there is no generator
state to checkpoint, an evaluation cannot disturb training, and update u draws the
same numbers on every device and after every resume. Knows nothing of models.
"""

import hashlib
from typing import Literal

import torch

Purpose = Literal["sample", "window", "source", "init", "bootstrap", "pretrain"]


def stream(seed: int, purpose: Purpose, update: int = 0) -> torch.Generator:
    """Return a fresh CPU generator for one purpose of one update.

    The 64-bit seed is the BLAKE2b digest of ``seed/purpose/update``, which, unlike
    Python's ``hash``, is the same in every process.
    """
    name = f"{seed}/{purpose}/{update}".encode()
    digest = hashlib.blake2b(name, digest_size=8).digest()
    return torch.Generator(device="cpu").manual_seed(int.from_bytes(digest, "little", signed=True))


def uniforms(generator: torch.Generator, rows: int, columns: int) -> torch.Tensor:
    """Draw float64 numbers in [0, 1), shape (rows, columns), on the CPU."""
    return torch.rand(rows, columns, generator=generator, dtype=torch.float64)
