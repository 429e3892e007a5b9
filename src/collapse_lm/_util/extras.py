"""How to install what an extra of this package brings: one command, told the same everywhere."""


def install(extra: str) -> str:
    """The command that adds an extra (embedded, hub, ray), however this package was installed.

    pip takes the requirements of the package that is there, and fetches only what they lack.
    """
    return f"pip install 'collapse-lm[{extra}]'"
