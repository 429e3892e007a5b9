"""A text as a page shows it: with one character per token for each thing that shades it. Pure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collapse_lm.experiment.batch import Text
from collapse_lm.report.page.private import clean

HIGHEST = 90  # level of a shade
STEP = 10  # levels per nat
UNKNOWN = "!"
# chr(35 + level), without the backslash, which JSON would write as two characters.
_SIGNS = "".join(chr(35 + level + (level >= 57)) for level in range(HIGHEST + 1)) + UNKNOWN
_CODES = np.frombuffer(_SIGNS.encode("ascii"), dtype=np.uint8)


def shades(nats: Sequence[float] | NDArray[np.float64]) -> str:
    """One character per value: levels of a tenth of a nat, from 0 to 90; `!` where it is none."""
    values = np.asarray(nats, dtype=np.float64)
    levels = np.clip(np.rint(STEP * values), 0, HIGHEST)
    places = np.where(np.isfinite(values), levels, HIGHEST + 1).astype(np.intp)
    return _CODES[places].tobytes().decode("ascii")


def utf16_offsets(text: str, ends: Sequence[int]) -> list[int]:
    """Offsets in code points as offsets in UTF-16 code units, which JavaScript counts."""
    if text.isascii() or max(text, default="") <= "\uffff":
        return list(ends)
    wide, found = 0, [0]
    for character in text:
        wide += 2 if character > "\uffff" else 1
        found.append(wide)
    return [found[min(end, len(text))] for end in ends]


def shown_text(text: Text, role: str) -> dict[str, Any]:
    """A text of a block of samples; what was not recorded is absent."""
    found: dict[str, Any] = {
        "origin": clean(text.origin),
        "role": role,
        "prompt": text.prompt_text,
        "text": text.text,
    }
    if text.ends:
        found["ends"] = utf16_offsets(text.text, text.ends)
    if text.log_probs:
        found["p"] = shades(np.negative(text.log_probs))
    if text.entropies:
        found["h"] = shades(text.entropies)
    if text.base_log_probs:
        found["b"] = shades(np.negative(text.base_log_probs))
    return found
