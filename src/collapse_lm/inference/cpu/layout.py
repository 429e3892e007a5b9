"""How much of the innermost product the registers of a processor hold; imports no numba.

A tile of more sums than there are registers spills them to memory in its innermost loop.
AVX-512 has 32 registers of 16 numbers, AVX2 16 of 8.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """The shape of the innermost product.

    Attributes:
        lanes: float32 numbers of one register.
        rows: rows of one tile; its sums are one register each per row and output.
        steps: registers of weights that one turn of the loop takes of each output (one
            cache line of 16 words together, which is asked for once).
    """

    lanes: int
    rows: int
    steps: int


AVX512 = Layout(lanes=16, rows=4, steps=1)
AVX2 = Layout(lanes=8, rows=2, steps=2)
PANEL = 4  # outputs of one tile, each a stream of weights of its own


def layout_for(features: frozenset[str]) -> Layout | None:
    """The layout for a processor with these features of LLVM's names; None without AVX2."""
    if "avx512f" in features:
        return AVX512
    return AVX2 if {"avx2", "fma"} <= features else None
