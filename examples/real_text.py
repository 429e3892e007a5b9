"""A source in 30 lines: real text instead of own samples, in a run that is otherwise the same.

python examples/real_text.py FILE
"""

import sys
from pathlib import Path
from typing import Literal

from collapse_lm import Batch, SourceConfig, Text, load_config, run


class RealText(SourceConfig):
    """The next tokens of a text file; it begins again when it ends."""

    kind: Literal["real-text"] = "real-text"
    path: str
    """UTF-8 file."""

    def build(self, context):
        ids = context.encode(Path(self.path).read_text("utf-8"))
        return Stream(ids, context.start_token, context.config.sampling.max_new_tokens)


class Stream:
    def __init__(self, ids, start_token, tokens):
        self.ids, self.start_token, self.tokens = ids, start_token, tokens

    def draw(self, at):
        first = (at.update - 1) * self.tokens
        ids = tuple(self.ids[(first + i) % len(self.ids)] for i in range(self.tokens))
        return Batch((Text(prompt=(self.start_token,), ids=ids, origin="corpus:file"),))

    def replay(self, texts):
        """Nothing to remember: the number of the update tells the place in the text."""


def main(path, preset="quickstart", *overrides, out=None):
    config = load_config(preset, overrides)
    return run(config.model_copy(update={"source": RealText(path=path)}), out)


if __name__ == "__main__":
    result = main(*sys.argv[1:])
    print(result.summary["reason"], result.directory)
