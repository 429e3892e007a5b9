"""A source: a text file read in order, from a place that survives."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from collapse_lm import Batch, SourceConfig, Text


class StreamConfig(SourceConfig):
    """The next tokens of a text file; it begins again when it ends."""

    kind: Literal["collapse-lm-plugin:stream"] = "collapse-lm-plugin:stream"
    path: str
    """UTF-8 file."""
    tokens: int = Field(default=30, ge=1)
    """Tokens of each update."""

    def build(self, context):
        return Stream(context.encode(Path(self.path).read_text("utf-8")), self.tokens, context)


class Stream:
    def __init__(self, ids, tokens, context):
        self.ids, self.tokens, self.start, self.place = ids, tokens, context.start_token, 0

    def draw(self, at):
        ids = tuple(self.ids[(self.place + i) % len(self.ids)] for i in range(self.tokens))
        self.place += self.tokens + at.update % 3  # no function of the update alone
        return Batch((Text((self.start,), ids, "corpus:stream"),), {"stream.place": self.place})

    def replay(self, texts): ...

    def state(self):
        return {"place": self.place}

    def load(self, state):
        self.place = state["place"]
