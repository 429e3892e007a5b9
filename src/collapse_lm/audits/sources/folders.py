"""Plain texts: files of one text each, a group per subfolder; and our own run directories."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from collapse_lm._util.files import read_regular
from collapse_lm.audits.sources.base import Broken, Entry
from collapse_lm.audits.sources.lines import BY_FILE
from collapse_lm.errors import UserError
from collapse_lm.rundir.layout import SAMPLES
from collapse_lm.rundir.rows import parse_sample
from collapse_lm.rundir.shape import RecordError

_ROLLOUTS = "rollouts"  # origin of texts that a monitor was shown


class TextFiles:
    """Files of plain text, one text each.

    Args:
        files: in the order of their texts.
        root: that the names of groups are below.
        by: `file` makes each file a group; None a subfolder, where there are any.

    Raises:
        UserError: for anything else to group by: a text has no columns.
    """

    def __init__(self, files: Sequence[Path], root: Path, by: str | None) -> None:
        if by not in (None, BY_FILE):
            got = f"--by {by}"
            raise UserError.single(got, "texts without columns", "file, or nothing", "--by file")
        self.broken = Broken()
        self._files, self._root, self._by_file = files, root, by == BY_FILE
        self.has_groups = self._by_file or any(path.parent != root for path in files)
        told = f"plain text, {len(files):,} files of one text each"
        if self._by_file:
            self.told = f"{told}, each a group, in the order of their names"
        elif self.has_groups:
            self.told = f"{told}, a group per subfolder, in the order of their names"
        else:
            self.told = f"{told}; one group (--by file makes each file one)"

    def __iter__(self) -> Iterator[Entry]:
        self.broken = Broken()
        for path in self._files:
            try:
                text = read_regular(path).decode("utf-8-sig")
            except UnicodeDecodeError as error:
                self.broken.add(path.name, f"byte {error.start} is not UTF-8")
                continue
            except OSError as error:
                self.broken.add(path.name, error.strerror or error)
                continue
            yield Entry(text, self._group(path))

    def _group(self, path: Path) -> str | None:
        if not self.has_groups:
            return None
        group = path if self._by_file else path.parent
        return group.relative_to(self._root).as_posix() if group != self._root else "."


class RunSamples:
    """What the model of a run directory drew, a group per update.

    Args:
        path: the run directory.
        by: must be None.

    Raises:
        UserError: where something else is asked for.
    """

    has_groups = True

    def __init__(self, path: Path, by: str | None) -> None:
        if by not in (None, "update"):
            raise UserError.single(f"--by {by}", "a run directory", "update, or nothing")
        self.broken = Broken()
        self._path = path
        self.told = "a run directory of collapse-lm, the samples of its model, groups by update"

    def __iter__(self) -> Iterator[Entry]:
        self.broken = Broken()
        with (self._path / SAMPLES).open("rb") as lines:
            for number, line in enumerate(lines, 1):
                place = f"{SAMPLES}, line {number}"
                try:
                    row = parse_sample(place, line.decode("utf-8"))
                except UnicodeDecodeError:
                    self.broken.add(place, "no UTF-8")
                    continue
                except RecordError as error:
                    self.broken.add(place, str(error).removeprefix(f"{place}: "))
                    continue
                for text in row.samples or [one for one in row.texts if one.origin == _ROLLOUTS]:
                    yield Entry(text.text, row.update, text.prompt_text)
