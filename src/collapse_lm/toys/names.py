"""What a toy's name means. No numpy: names are asked for by every command.

toy:unigram[:TYPES[@ZIPF]]   words 0 to TYPES - 1; word w has probability ~ (w + 1)^-ZIPF
toy:gaussian[:BINS]          the standard normal on bins of equal width, in [-8, 8]
"""

import re
from dataclasses import dataclass
from typing import Literal

from collapse_lm.errors import UserError

PREFIX = "toy:"
_MOST_TYPES = 65_536
_FORM = re.compile(r"toy:(unigram|gaussian)(?::(\d{1,6})(?:@(\d{1,2}(?:\.\d{1,4})?))?)?")
_TYPES = {"unigram": 64, "gaussian": 4096}


@dataclass(frozen=True)
class Toy:
    """A toy model.

    Attributes:
        family: unigram or gaussian.
        types: words, or bins.
        zipf: exponent of the first distribution of a unigram; 0 is uniform.
    """

    family: Literal["unigram", "gaussian"]
    types: int
    zipf: float = 1.0


def is_toy(reference: str) -> bool:
    """True for the name of a toy, or what is meant as one."""
    return reference.startswith(PREFIX)


def parse(reference: str) -> Toy:
    """Read a toy's name.

    Raises:
        UserError: for a name of another form, or too few or too many types.
    """
    found = _FORM.fullmatch(reference)
    family = found[1] if found else ""
    types = int(found[2] or _TYPES[family]) if found else 0
    is_known = bool(found) and 2 <= types <= _MOST_TYPES
    if not found or not is_known or (family == "gaussian" and found[3]):
        raise UserError.single(
            "toy",
            reference,
            f"toy:unigram:TYPES@ZIPF or toy:gaussian:BINS, 2 to {_MOST_TYPES:,} types or bins",
            "toy:unigram, toy:unigram:64@0 (uniform), toy:gaussian",
        )
    if family == "gaussian":
        return Toy("gaussian", types)
    return Toy("unigram", types, float(found[3] or 1))
