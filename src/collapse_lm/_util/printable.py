"""Make text from a model or a file safe to show: nothing in it can move a cursor.

Every generated text and every name that a stranger chose passes through here before
it reaches a terminal.
"""

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def printable(text: str, *, keep_newlines: bool = False) -> str:
    r"""Replace control, format, private and unassigned characters by visible escapes.

    A newline stays where `keep_newlines` is set; elsewhere it becomes ``\n``. Escapes
    are Python's: ESC becomes ``\x1b``, a right-to-left override ``\u202e``.
    """
    return "".join(
        character
        if (keep_newlines and character == "\n") or unicodedata.category(character) not in _HIDDEN
        else character.encode("unicode_escape", errors="backslashreplace").decode("ascii")
        for character in text
    )


def one_line(text: str, width: int) -> str:
    """Shorten a text to one printable line of at most `width` characters."""
    line = " ".join(printable(text[: 4 * width].replace("\n", " ")).split())
    return line if len(line) <= width else line[: max(0, width - 1)] + "…"
