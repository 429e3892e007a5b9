"""TensorBoard: event files in RUN/trackers/tensorboard.

`tensorboard --logdir runs` shows those of all runs. Numbers are float32 there, as the format
has them. It has no alerts; a text stands for one.
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from collapse_lm._util.printable import printable
from collapse_lm.measures.names import Row
from collapse_lm.observers.trackers.base import TrackedRun, TrackedText

_FILES = "events.out.tfevents.*"


class OnTensorboard:
    """Writes event files. Those of a resumed run go on, and hide what was done again."""

    def __init__(self) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._summary, self._open = Summary, EventFileWriter
        self._last = 0

    def open(self, run: TrackedRun) -> bool:
        """Begin a file; True where there are others of this run."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        folder = run.folder / "tensorboard"
        has_files = any(folder.glob(_FILES))
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = self._open(str(folder))
        if has_files:  # readers drop what earlier files hold from this step on
            step = run.update + 1 if run.update else 0
            self._writer.add_event(
                Event(step=step, session_log=SessionLog(status=SessionLog.START))
            )
        self._text("config", 0, _code(json.dumps(run.config, indent=2, ensure_ascii=False)))
        return has_files and run.update > 0

    def row(self, row: Row) -> None:
        """A scalar per name."""
        self._last = row.update
        value = self._summary.Value
        values = [value(tag=name, simple_value=float(n)) for name, n in row.values.items()]
        self._add(self._summary(value=values), row.update)

    def texts(self, texts: Sequence[TrackedText]) -> None:
        """One text of the update, under `samples`."""
        parts = [
            f"**{printable(t.origin)}, {t.role}**\n\n{_code(t.prompt + t.text)}" for t in texts
        ]
        self._text("samples", texts[0].update, "\n\n".join(parts))

    def alert(self, title: str, text: str) -> None:
        """A text, under `alerts`."""
        self._text("alerts", self._last, _code(f"{title}\n{text}"))

    def end(
        self, summary: Mapping[str, Any], texts: Sequence[TrackedText], files: Sequence[Path]
    ) -> None:
        """The summary, the pictures, and which pages there are."""
        self._text("summary", self._last, _code(json.dumps(summary, indent=2, ensure_ascii=False)))
        for path in files:
            if path.suffix == ".png":
                self._image(f"figures/{path.stem}", path.read_bytes())
        pages = [path.name for path in files if path.suffix == ".html"]
        if pages:
            self._text("pages", self._last, _code("in the run directory: " + ", ".join(pages)))

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()

    def _add(self, summary: Any, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
        self._writer.flush()  # what is killed keeps its rows

    def _text(self, tag: str, step: int, markdown: str) -> None:
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
        from tensorboard.plugins.text.metadata import create_summary_metadata

        tensor = TensorProto(
            dtype="DT_STRING",
            string_val=[markdown.encode("utf-8", "backslashreplace")],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        )
        about = create_summary_metadata(display_name=tag, description="")
        value = self._summary.Value(tag=tag, metadata=about, tensor=tensor)
        self._add(self._summary(value=[value]), step)

    def _image(self, tag: str, png: bytes) -> None:
        width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
        image = self._summary.Image(
            height=height, width=width, colorspace=4, encoded_image_string=png
        )
        self._add(self._summary(value=[self._summary.Value(tag=tag, image=image)]), self._last)


def _code(text: str) -> str:
    """A block of Markdown that shows a text as it is."""
    return "\n".join(f"    {line}" for line in printable(text, keep_newlines=True).split("\n"))
