"""Parts handed over from Python as objects, in a run that keeps its directory."""

from functools import partial
from typing import Literal

import pytest
import torch
from test_parts import numbers
from test_run import Seen

import collapse_lm
from collapse_lm import Batch, RunReader, SourceConfig, Text, UserError, load_config

ENDS = "run.max_updates=6"


class Counting:
    """A source that draws what it counted, and remembers where it is."""

    def __init__(self, context=None, first=0):
        self.place = first

    def draw(self, at):
        ids = tuple((self.place + i) % 250 for i in range(20))
        self.place += 7 + at.update % 3
        return Batch((Text((256,), ids, "corpus:counting"),))

    def replay(self, texts): ...

    def state(self):
        return {"place": self.place}

    def load(self, state):
        self.place = state["place"]


class CountingConfig(SourceConfig):
    """The same, with settings, of no package."""

    kind: Literal["counting"] = "counting"
    first: int = 0

    def build(self, context):
        return Counting(context, self.first)


def drawn(at):
    """A source that is a function."""
    return Batch((Text((256,), tuple(range(at.update, at.update + 20)), "corpus:f"),))


def doubled(chunk):
    """An objective that is a function."""
    return 2 * chunk.nll


def longest(at, batch, probe):
    """A measure that is a function."""
    return {"length.longest": max((len(text.ids) for text in batch.texts), default=0)}


class Halved:
    needs_base = False

    def __call__(self, chunk):
        return chunk.nll / 2


def steepest(groups, learning_rate):
    return torch.optim.SGD(groups, lr=learning_rate)


@pytest.fixture
def tiny(tiny_overrides):
    return load_config("quickstart", [*tiny_overrides, "run.checkpoint_every=3"])


@pytest.mark.parametrize(
    "parts",
    [
        {"source": Counting},
        {"source": Counting()},
        {"source": partial(Counting, first=3)},
        {"source": CountingConfig(first=3)},
        {"source": drawn},
        {"objective": doubled},
        {"objective": Halved()},
        {"optimizer": torch.optim.Adagrad},
        {"optimizer": partial(torch.optim.SGD, momentum=0.5)},
        {"optimizer": steepest},
        {"measures": [longest]},
        {"source": Counting, "objective": doubled, "optimizer": steepest, "measures": [longest]},
    ],
    ids=lambda parts: "-".join(f"{k}-{type(v).__name__}" for k, v in parts.items()),
)
def test_a_run_with_objects_resumes_bit_for_bit(parts, tiny, tmp_path):
    def fresh():
        return {**parts, "source": Counting()} if type(parts.get("source")) is Counting else parts

    whole = collapse_lm.run(tiny, tmp_path / "whole", overrides=[ENDS], **fresh())
    collapse_lm.run(tiny, tmp_path / "r", overrides=["run.max_updates=3"], **fresh())
    collapse_lm.resume(tmp_path / "r", overrides=[ENDS], **fresh())
    assert numbers(tmp_path / "r") == numbers(whole.directory)


def test_each_object_does_its_work(tiny, tmp_path):
    plain = collapse_lm.run(tiny, tmp_path / "plain", source=drawn).directory
    ours = collapse_lm.run(
        tiny, tmp_path / "r", source=drawn, objective=doubled, measures=[longest]
    ).directory
    before, after = RunReader(plain).updates()[1], RunReader(ours).updates()[1]
    assert RunReader(ours).samples()[0].texts[0].ids == tuple(range(1, 21))
    assert after.get("train.loss") == before.get("train.loss")
    assert after.get("train.grad_norm") == pytest.approx(2 * before.get("train.grad_norm"))
    assert after.get("length.longest") == 20


def test_the_record_names_what_was_handed_over_and_every_reader_reads_it(tiny, tmp_path):
    from collapse_lm.analysis import run_table

    parts = {"source": CountingConfig(first=3), "objective": doubled}
    collapse_lm.run(tiny, tmp_path / "runs" / "r", **parts)
    recorded = load_config(tmp_path / "runs" / "r" / "config.yaml")
    assert recorded.source.kind == recorded.objective.kind == "python"
    assert recorded.source.name == f"{__name__}:CountingConfig"
    assert recorded.source.settings == {"kind": "counting", "first": 3}
    assert recorded.objective.name == f"{__name__}:doubled"
    (row,) = run_table(tmp_path / "runs")
    assert row["status"] == "finished"
    (row,) = collapse_lm.tables(tmp_path / "runs")["runs"].to_dict("records")
    assert row["source.settings.first"] == 3


def test_a_resume_without_the_object_says_what_is_missing(tiny, tmp_path):
    collapse_lm.run(tiny, tmp_path / "r", source=Counting)
    with pytest.raises(UserError) as caught:
        collapse_lm.resume(tmp_path / "r", overrides=["run.max_updates=9"])
    (problem,) = caught.value.problems
    assert (problem.where, "Counting" in problem.got) == ("source", True)
    assert "resume(RUN, source=...)" in problem.fix


@pytest.mark.parametrize(
    ("parts", "where"),
    [
        ({"source": drawn}, "source"),
        ({"source": CountingConfig(first=4)}, "source"),
        ({"source": CountingConfig(first=3), "objective": doubled}, "objective"),
        ({"source": CountingConfig(first=3), "optimizer": torch.optim.Adagrad}, "optimizer"),
        ({"source": CountingConfig(first=3), "measures": [longest]}, "measures"),
    ],
)
def test_a_resume_with_another_object_is_refused(parts, where, tiny, tmp_path):
    collapse_lm.run(tiny, tmp_path / "r", source=CountingConfig(first=3))
    before = (tmp_path / "r" / "updates.jsonl").read_bytes()
    with pytest.raises(UserError) as caught:
        collapse_lm.resume(tmp_path / "r", overrides=["run.max_updates=9"], **parts)
    assert caught.value.problems[0].where == where
    assert (tmp_path / "r" / "updates.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("parts", "where"),
    [
        ({"source": "own"}, "source"),
        ({"source": 7}, "source"),
        ({"source": Seen()}, "source"),
        ({"source": Seen}, "source"),
        ({"objective": CountingConfig()}, "objective"),
        ({"measures": [3]}, "measure"),
        ({"optimizer": torch.optim.SGD([torch.ones(1, requires_grad=True)])}, "optimizer"),
        ({"observers": [Seen]}, "observers"),
        ({"observers": [doubled]}, "observers"),
    ],
)
def test_what_is_no_such_part_is_told_before_anything_is_created(parts, where, tiny, tmp_path):
    with pytest.raises(UserError) as caught:
        collapse_lm.run(tiny, tmp_path / "r", **parts)
    assert caught.value.problems[0].where == where
    assert caught.value.problems[0].expected
    assert not (tmp_path / "r").exists()


def test_a_kind_that_is_registered_is_recorded_as_ever(tiny, tmp_path):
    from collapse_lm_plugin.source import StreamConfig

    text = tmp_path / "t.txt"
    text.write_text("abc" * 30)
    stream = StreamConfig(path=str(text))
    run = collapse_lm.run(tiny, tmp_path / "r", source=stream)
    assert load_config(run.directory / "config.yaml").source == stream
    longer = ["run.max_updates=7"]
    assert collapse_lm.resume(run.directory, overrides=longer).summary["updates"] == 7


def test_overrides_keep_the_objects_of_a_configuration(tiny, tmp_path):
    config = tiny.model_copy(update={"source": CountingConfig(first=5)})
    run = collapse_lm.run(config, tmp_path / "r", overrides=["run.max_updates=2"])
    assert RunReader(run.directory).samples()[0].texts[0].ids[:3] == (5, 6, 7)


def test_an_observer_that_no_file_can_name_is_not_recorded(tiny, tmp_path):
    class Quiet(collapse_lm.ObserverConfig):
        kind: Literal["quiet"] = "quiet"

        def build(self):
            return heard

    heard, also = Seen(), Seen()
    config = tiny.model_copy(update={"observers": (Quiet(),), "run": tiny.run})
    run = collapse_lm.run(config, tmp_path / "r", observers=[also])
    assert heard.updates == also.updates == list(range(7))
    assert load_config(run.directory / "config.yaml").observers == ()


def test_the_command_line_says_how_such_a_run_goes_on(tiny, tmp_path):
    from commands import call

    collapse_lm.run(tiny, tmp_path / "r", source=Counting)
    done = call("resume", str(tmp_path / "r"), "--set", "run.max_updates=9")
    assert done.returncode == 2
    assert "resume(RUN, source=...)" in done.stderr
    assert "Traceback" not in done.stderr
