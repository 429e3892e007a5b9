"""A source in 30 lines: real text instead of own samples, in a run that is otherwise the same.

python examples/real_text.py FILE
"""

import sys
from functools import partial
from pathlib import Path

from collapse_lm import Batch, Text, run


class RealText:
    """The next tokens of a text file; it begins again when it ends."""

    def __init__(self, context, path):
        self.ids = context.encode(Path(path).read_text("utf-8"))
        self.start_token = context.start_token
        self.tokens = context.config.sampling.max_new_tokens

    def draw(self, at):
        first = (at.update - 1) * self.tokens
        ids = tuple(self.ids[(first + i) % len(self.ids)] for i in range(self.tokens))
        return Batch((Text(prompt=(self.start_token,), ids=ids, origin="corpus:file"),))

    def replay(self, texts):
        """Nothing to remember: the number of the update tells the place in the text."""


def main(path, preset="quickstart", *overrides, out=None):
    return run(preset, out, overrides=overrides, source=partial(RealText, path=path))


if __name__ == "__main__":
    result = main(*sys.argv[1:])
    print(result.summary["reason"], result.directory)
