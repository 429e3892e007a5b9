"""An observer: writes one line per update beside the record, and may be told to fail."""

from typing import Literal

from collapse_lm import ObserverConfig


class TallyConfig(ObserverConfig):
    """RUN/tally.txt: the train loss of each update."""

    kind: Literal["collapse-lm-plugin:tally"] = "collapse-lm-plugin:tally"
    fail_at: int | None = None
    """Raise at this update."""

    def build(self):
        return Tally(self.fail_at)


class Tally:
    def __init__(self, fail_at):
        self.fail_at = fail_at

    def start(self, run):
        self.file = run.directory / "tally.txt"

    def update(self, record):
        if record.update == self.fail_at:
            raise RuntimeError("told to fail")
        with self.file.open("a") as file:
            file.write(f"{record.update} {record.row.get('train.loss')}\n")

    def end(self, summary):
        with self.file.open("a") as file:
            file.write(f"{summary['reason']}\n")
