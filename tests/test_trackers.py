"""Trackers: each holds every row in its own files, and none that fails or hangs changes a run."""

import gc
import json
import os
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import dataclass, field
from importlib.util import find_spec

import pytest

import collapse_lm
from collapse_lm.errors import UserError
from collapse_lm.observers.trackers import choose
from collapse_lm.observers.trackers.base import TrackedRun, TrackedText
from collapse_lm.observers.trackers.feed import Tracked
from collapse_lm.observers.trackers.kept import keep, kept
from collapse_lm.observers.trackers.on_tensorboard import _code
from collapse_lm.observers.trackers.tell import files_of, spread
from collapse_lm.rundir import RunReader

BARE = ["observers=[]", "run.report=false"]
PICTURES = ["observers=[pictures]", "run.report=true"]
LONGER = ["run.max_updates=5", *PICTURES]
COLLAPSES = ["collapse.patience=1", "collapse.train_loss=1000", "collapse.aftermath=2"]


def needs(name):
    return pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")


@dataclass
class Fake:
    """A tracker that notes what it is told, and fails or hangs as asked."""

    fails_at: str = ""
    hangs: threading.Event | None = None
    pause: float = 0
    has_earlier: bool = False
    rows: list = field(default_factory=list)
    told: list = field(default_factory=list)

    def _called(self, name):
        if self.fails_at == name:
            raise RuntimeError(f"no {name} today")
        if self.hangs is not None:
            self.hangs.wait(30)
        time.sleep(self.pause)

    def open(self, run):
        self.told.append(("open", run.name, run.group, run.update))
        self._called("open")
        return self.has_earlier

    def row(self, row):
        self._called("row")
        self.rows.append(row)

    def texts(self, texts):
        self._called("texts")
        self.told.append(("texts", texts[0].update, len(texts)))

    def alert(self, title, text):
        self._called("alert")
        self.told.append(("alert", title))

    def end(self, summary, texts, files):
        self._called("end")
        self.told.append(("end", summary["status"], len(texts), {p.name for p in files}))

    def close(self):
        self._called("close")
        self.told.append(("close",))


def run_with(tracker, overrides, place, **options):
    """Do a run without pictures and page, which cost more than all else here."""
    overrides = [*BARE, *overrides]
    observer = Tracked("fake", lambda: tracker, **options)
    result = collapse_lm.run("quickstart", place, overrides=overrides, observers=[observer])
    return observer, result


def plain(path):
    """The rows of a run without its times."""
    return [
        {k: v for k, v in r.values.items() if not k.startswith("seconds.")}
        for r in RunReader(path).updates()
    ]


@pytest.fixture(scope="module")
def alone(tiny_overrides, tmp_path_factory):
    place = tmp_path_factory.mktemp("alone") / "run"
    collapse_lm.run("quickstart", place, overrides=[*tiny_overrides, *BARE])
    return plain(place)


def test_a_tracker_is_told_every_row_all_texts_the_pictures_and_the_end(
    tiny_overrides, all_formats, tmp_path
):
    fake = Fake()
    run_with(fake, [*tiny_overrides, *PICTURES], tmp_path / "my-run")
    assert fake.rows == RunReader(tmp_path / "my-run").updates()
    assert fake.told[0] == ("open", "my-run", "", 0)
    assert [entry[1] for entry in fake.told if entry[0] == "texts"] == [1, 2, 3, 4, 5, 6]
    (_, status, count, files), close = fake.told[-2:]
    assert (status, count, close) == ("finished", 6, ("close",))
    assert {"losses.png", "losses.pdf", "samples.md"} <= files


def test_a_collapse_is_an_alert_at_the_update_that_shows_it(tiny_overrides, tmp_path):
    fake = Fake()
    run_with(fake, [*tiny_overrides, *COLLAPSES], tmp_path / "r")
    told = [entry for entry in fake.told if entry[0] in ("texts", "alert")]
    assert told[:2] == [("texts", 1, 1), ("alert", "collapse at update 1")]
    assert sum(entry[0] == "alert" for entry in told) == 1


@pytest.mark.parametrize("moment", ["open", "row", "texts", "end", "close"])
def test_a_tracker_that_raises_is_told_once_and_changes_no_row(
    moment, alone, tiny_overrides, tmp_path, caplog
):
    _, result = run_with(Fake(fails_at=moment), tiny_overrides, tmp_path / "r")
    assert plain(tmp_path / "r") == alone
    assert result.summary["status"] == "finished"
    told = [r.getMessage() for r in caplog.records if "tracker fake" in r.getMessage()]
    assert len(told) == 1
    assert f"no {moment} today" in told[0]


def test_a_tracker_that_hangs_stops_nothing_and_is_waited_for_only_so_long(
    alone, tiny_overrides, tmp_path, caplog
):
    gate = threading.Event()
    observer, timed = Tracked("fake", lambda: Fake(hangs=gate), patience=0.2), Stopwatched()
    timed.of = observer
    collapse_lm.run(
        "quickstart", tmp_path / "r", overrides=[*tiny_overrides, *BARE], observers=[timed]
    )
    gate.set()
    assert plain(tmp_path / "r") == alone
    told = [r.getMessage() for r in caplog.records if "tracker fake" in r.getMessage()]
    assert len(told) == 1
    assert "still busy" in told[0]
    assert timed.in_updates < 0.1  # one update that waited would take the patience, 0.2 s
    assert timed.at_end < 1


class Stopwatched:
    """An observer that times another one by its own stopwatch."""

    in_updates = at_end = 0.0

    def start(self, run):
        self.of.start(run)

    def update(self, record):
        begin = time.perf_counter()
        self.of.update(record)
        self.in_updates += time.perf_counter() - begin

    def end(self, summary):
        begin = time.perf_counter()
        self.of.end(summary)
        self.at_end = time.perf_counter() - begin


def test_a_queue_that_is_full_is_told_once_and_not_fed_any_more(tiny_overrides, tmp_path, caplog):
    gate, fake = threading.Event(), Fake()
    fake.hangs = gate
    observer, _ = run_with(fake, tiny_overrides, tmp_path / "r", room=3, patience=0.1)
    gate.set()
    told = [r.getMessage() for r in caplog.records if "tracker fake" in r.getMessage()]
    assert told == [
        "tracker fake: 3 updates behind; it is not told any more. "
        "The record in the run directory is complete"
    ]
    observer._thread.join(5)
    assert not observer._thread.is_alive()
    assert fake.told[-1] == ("close",)


def test_a_tracker_that_exits_is_told_of_too(tiny_overrides, tmp_path, caplog):
    fake = Fake()
    fake.row = lambda row: sys.exit("enough")
    run_with(fake, tiny_overrides, tmp_path / "r")
    told = [r.getMessage() for r in caplog.records if "tracker fake" in r.getMessage()]
    assert len(told) == 1
    assert "SystemExit: enough" in told[0]
    assert fake.told[-1] == ("close",)


def test_an_update_that_waits_for_a_tracker_holds_nothing_per_token(tiny_overrides, tmp_path):
    gate, batches = threading.Event(), []
    observer = Tracked("fake", lambda: Fake(hangs=gate), patience=0.1)
    seen = Seeing(batches)
    overrides = [*tiny_overrides, *BARE]
    collapse_lm.run("quickstart", tmp_path / "r", overrides=overrides, observers=[observer, seen])
    gc.collect()
    assert observer._tasks.qsize() > 5
    assert [batch() for batch in batches[1:]] == [None] * 6  # update 0 has no batch of its own
    gate.set()


@dataclass
class Seeing:
    """An observer that keeps nothing of a batch but whether it is still there."""

    batches: list

    def start(self, run):
        pass

    def update(self, record):
        self.batches.append(weakref.ref(record.batch))

    def end(self, summary):
        pass


def test_a_slow_tracker_gets_every_row_before_the_run_is_over(tiny_overrides, tmp_path):
    fake = Fake(pause=0.03)
    run_with(fake, tiny_overrides, tmp_path / "r")
    assert len(fake.rows) == 7
    assert fake.told[-1] == ("close",)


@pytest.mark.parametrize("has_earlier", [True, False])
def test_a_resume_tells_earlier_rows_only_to_a_tracker_that_lacks_them(
    has_earlier, tiny_overrides, tmp_path
):
    short = [*tiny_overrides, *BARE, "run.max_updates=3", "run.checkpoint_every=1"]
    collapse_lm.run("quickstart", tmp_path / "r", overrides=short)
    fake = Fake(has_earlier=has_earlier)
    observer = Tracked("fake", lambda: fake)
    collapse_lm.resume(tmp_path / "r", overrides=["run.max_updates=5"], observers=[observer])
    assert [row.update for row in fake.rows] == ([4, 5] if has_earlier else [0, 1, 2, 3, 4, 5])
    assert fake.told[0] == ("open", "r", "", 3)


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_made(
    tiny_overrides, tmp_path, monkeypatch
):
    monkeypatch.setattr(choose, "find_spec", lambda name: None)
    overrides = [*tiny_overrides, "run.trackers=[wandb, trackio]"]
    with pytest.raises(UserError) as refused:
        collapse_lm.run("quickstart", tmp_path / "r", overrides=overrides)
    assert [p.fix for p in refused.value.problems] == [
        "pip install 'collapse-lm[wandb]'",
        "pip install 'collapse-lm[trackio]'",
    ]
    assert not (tmp_path / "r").exists()


def test_a_run_of_a_sweep_is_grouped_by_the_sweep(tmp_path):
    (tmp_path / "rates" / "runs" / "a").mkdir(parents=True)
    (tmp_path / "rates" / "sweep.yaml").touch()
    found = TrackedRun.of(tmp_path / "rates" / "runs" / "a", {}, 0)
    assert (found.name, found.group) == ("a", "rates")
    assert TrackedRun.of(tmp_path / "rates", {}, 0).group == ""


def test_what_a_tracker_knows_a_run_by_is_kept_for_a_resume_only(tmp_path):
    run, resumed = (TrackedRun.of(tmp_path, {}, update) for update in (0, 7))
    assert kept(resumed, "wandb") is None
    keep(run, "wandb", "abc123")
    assert kept(resumed, "wandb") == "abc123"
    assert kept(run, "wandb") is None  # it begins anew
    (tmp_path / "trackers" / "wandb.json").write_text('{"id": 3}')
    assert kept(resumed, "wandb") is None


def test_a_table_of_texts_has_a_bounded_length_and_both_ends():
    texts = [TrackedText(u, "probe", "own", "", "x") for u in range(1000)]
    assert spread(texts, 2000) == texts
    found = spread(texts, 10)
    assert (len(found), found[0].update, found[-1].update) == (10, 0, 999)


def test_a_run_that_failed_at_once_can_be_begun_again_with_its_tracker(tiny_overrides, tmp_path):
    class Failing:
        def __call__(self, at, batch, probe):
            raise ValueError("no measure")

        every = 1

    place = tmp_path / "r"
    with pytest.raises(ValueError, match="no measure"):
        collapse_lm.run("quickstart", place, overrides=tiny_overrides, measures=[Failing()])
    (place / "trackers").mkdir(exist_ok=True)
    (place / "trackers" / "wandb.json").write_text('{"id": "old"}')
    collapse_lm.run("quickstart", place, overrides=tiny_overrides)
    assert not (place / "trackers" / "wandb.json").exists()
    assert files_of(place)


# --- the trackers themselves, offline, read back by their own readers --------------------------


def run_offline(tracker, overrides, place, **environment):
    """Do, or go on with, a run with a tracker, in a process whose environment it reads."""
    code = (
        "import sys, json, logging, collapse_lm\n"
        "logging.basicConfig(level=logging.WARNING)\n"
        "place, overrides, is_there = json.loads(sys.argv[1])\n"
        "if is_there: collapse_lm.resume(place, overrides=overrides)\n"
        "else: collapse_lm.run('quickstart', place, overrides=overrides)\n"
    )
    words = [*overrides, f"run.trackers=[{tracker}]"]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps([str(place), words, place.exists()])],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "tracker" not in done.stderr, done.stderr
    return RunReader(place).updates()


def series(rows):
    """Name -> update -> value, of the rows of a run."""
    found = {}
    for row in rows:
        for name, value in row.values.items():
            found.setdefault(name, {})[row.update] = value
    return found


@pytest.fixture
def short(tiny_overrides):
    """A run of three updates that collapses at once, and can go on."""
    return [
        *tiny_overrides,
        *BARE,
        *("collapse.patience=1", "collapse.train_loss=1000", "collapse.stop=false"),
        *("run.max_updates=3", "run.checkpoint_every=1"),
    ]


@needs("tensorboard")
def test_tensorboard_holds_every_row_also_of_a_resumed_run(short, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_offline("tensorboard", short, tmp_path / "r")
    rows = run_offline("tensorboard", LONGER, tmp_path / "r")
    folder = tmp_path / "r" / "trackers" / "tensorboard"
    found = EventAccumulator(str(folder), size_guidance={"tensors": 0, "images": 0})
    found.Reload()
    known = series(rows)
    assert set(found.Tags()["scalars"]) == set(known)
    for name, values in known.items():
        told = [(event.step, event.value) for event in found.Scalars(name)]
        assert [step for step, _ in told] == list(values), name
        assert [v for _, v in told] == pytest.approx(list(values.values()), rel=1e-6), name
    texts = [found.Tensors("samples")[place] for place in range(5)]
    first = RunReader(tmp_path / "r").samples()[0].texts[0].text
    assert _code(first).encode() in texts[0].tensor_proto.string_val[0]
    assert b"collapse at update 1" in found.Tensors("alerts")[0].tensor_proto.string_val[0]
    assert {"figures/losses"} <= set(found.Tags()["images"])


@needs("trackio")
def test_trackio_holds_every_row_also_of_a_resumed_run(short, tmp_path):
    place = {"TRACKIO_DIR": str(tmp_path / "trackio")}
    run_offline("trackio", short, tmp_path / "r", **place)
    rows = run_offline("trackio", LONGER, tmp_path / "r", **place)
    code = (
        "import json, trackio\n"
        "from trackio.sqlite_storage import SQLiteStorage\n"
        "(run,) = trackio.Api().runs('collapse-lm')\n"
        "logs = SQLiteStorage.get_logs('collapse-lm', run.name)\n"
        "print('\\n' + json.dumps([run.name, logs, [a['title'] for a in run.alerts()]]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **place},
        check=True,
    )
    name, logs, alerts = json.loads(done.stdout.splitlines()[-1])
    assert name == "r"
    told = {}
    for entry in logs:
        told.setdefault(entry["step"], {}).update(entry)
    assert list(told) == [0, 1, 2, 3, 4, 5]
    for row in rows:
        assert {name: told[row.update][name] for name in row.values} == row.values
    assert alerts == ["collapse at update 1"]
    table = told[5]["samples"]["_value"]
    assert [row["update"] for row in table] == [1, 2, 3, 4, 5]
    assert table[0]["text"] == RunReader(tmp_path / "r").samples()[0].texts[0].text
    assert told[5]["figures/losses"]["_type"] == "trackio.image"
    assert told[5]["report"]["_type"] == "trackio.html"


@needs("wandb")
def test_wandb_holds_every_row_also_of_a_resumed_run(short, tmp_path):
    quiet = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "HOME": str(tmp_path)}
    run_offline("wandb", short, tmp_path / "r", **quiet)
    rows = run_offline("wandb", LONGER, tmp_path / "r", **quiet)
    files = sorted((tmp_path / "r" / "trackers" / "wandb").glob("offline-run-*/*.wandb"))
    assert len({path.name for path in files}) == 1  # one id, two parts of it
    history, alerts = {}, []
    for path in files:
        for kind, record in wandb_records(path):
            if kind == "history":
                found = {"/".join(i.nested_key) or i.key: i for i in record.history.item}
                values = {key: json.loads(item.value_json) for key, item in found.items()}
                history.setdefault(values["update"], {}).update(values)
            elif kind == "alert":
                alerts.append(record.alert.title)
    assert list(history) == [0, 1, 2, 3, 4, 5]
    for row in rows:
        assert {name: history[row.update][name] for name in row.values} == row.values
    assert alerts == ["collapse at update 1"]
    assert history[5]["samples/nrows"] == 5
    assert history[5]["figures/losses/_type"] == "image-file"
    assert history[5]["report/_type"] == "html-file"


BLOCK, HEADER = 32768, 7  # bytes, of the log format of LevelDB, in which wandb keeps records


def wandb_records(path):
    """The records of an offline run, in wandb's own messages (it has no reader in Python)."""
    from wandb.proto.wandb_internal_pb2 import Record

    for data in log_records(path.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        yield record.WhichOneof("record_type"), record


def log_records(content):
    """Whole records, whose parts are 1 full, 2 first, 3 middle, 4 last; a block begins anew."""
    assert content[:4] == b":W&B"
    at, parts = HEADER, b""
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:  # no room for another header
            at += BLOCK - at % BLOCK
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        parts += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):
            yield parts
            parts = b""
