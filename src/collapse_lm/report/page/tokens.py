"""A text as a page shows it: with one character per token for each thing that shades it. Pure."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from collapse_lm.experiment.batch import Text
from collapse_lm.report.page.private import clean

HIGHEST = 90  # level of a shade
STEP = 10  # levels per nat
UNKNOWN = "!"
# chr(35 + level), without the backslash, which JSON would write as two characters.
_SIGNS = [chr(35 + level + (level >= 57)) for level in range(HIGHEST + 1)]


def shades(nats: Iterable[float]) -> str:
    """One character per value: levels of a tenth of a nat, from 0 to 90; `!` where it is none."""
    return "".join(
        _SIGNS[min(HIGHEST, max(0, round(STEP * value)))] if math.isfinite(value) else UNKNOWN
        for value in nats
    )


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
        found["p"] = shades(-value for value in text.log_probs)
    if text.entropies:
        found["h"] = shades(text.entropies)
    if text.base_log_probs:
        found["b"] = shades(-value for value in text.base_log_probs)
    return found
