"""What users of the Python API hand over: mistakes are told, and nothing stays in the way."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import collapse_lm
from collapse_lm import (
    Batch,
    CollapseRule,
    LanguageModel,
    RunReader,
    Text,
    UserError,
    Watch,
    load_config,
)

from commands import call
from conftest import byte_tokenizer, tiny_gpt2, tiny_llama

IDS = tuple(range(20))


@pytest.fixture
def tiny(tiny_overrides):
    return load_config("quickstart", [*tiny_overrides, "run.max_updates=2"])


def text(**changes):
    return Text(**{"prompt": (256,), "ids": IDS, "origin": "corpus:book", **changes})


def drawing(drawn):
    return lambda at: drawn


def told(caught):
    (problem,) = caught.value.problems
    return problem


# --- what a source returns ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "ids",
    [
        list(IDS),
        np.array(IDS),
        torch.tensor(IDS),
        tuple(np.array(IDS)),
        tuple(torch.tensor(IDS)),
    ],
    ids=["list", "numpy", "torch", "of numpy", "of torch"],
)
def test_whole_numbers_of_any_library_are_ids(ids, tiny, tmp_path):
    batch = Batch([text(prompt=np.array([256]), ids=ids)])
    run = collapse_lm.run(tiny, tmp_path / "r", source=drawing(batch))
    plain = collapse_lm.run(tiny, tmp_path / "plain", source=drawing(Batch((text(),))))
    written = [(r.directory / "samples.jsonl").read_bytes() for r in (run, plain)]
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("drawn", "where"),
    [
        ([text()], "source"),
        (None, "source"),
        (Batch(text()), "source, texts"),
        (Batch(((1, 2),)), "source, texts"),
        (Batch((text(ids=(0.5, 1.0)),)), "source, ids"),
        (Batch((text(ids=torch.ones(1, 5, dtype=torch.long)),)), "source, ids"),
        (Batch((text(ids="abc"),)), "source, ids"),
        (Batch((text(ids=(-1, 2)),)), "source, ids"),
        (Batch((text(prompt=256),)), "source, prompt"),
        (Batch((text(origin=None),)), "source, origin"),
        (Batch((text(log_probs=(0.1,)),)), "source, log_probs"),
        (Batch((text(entropies=(0.1,)),)), "source, entropies"),
        (Batch((text(ends=(0.5,)),)), "source, ends"),
        (Batch((text(ends=(1,), text="ab"),)), "source, ends"),
        (Batch((text(per_token=[1]),)), "source, per_token"),
        (Batch((text(per_token={"my.x": ("a",)}),)), "source, my.x"),
        (Batch((text(),), [1]), "source, values"),
        (Batch((text(),), {"my.x": "a"}), "numbers of source"),
    ],
)
def test_what_is_no_batch_is_told_and_leaves_nothing_in_the_way(drawn, where, tiny, tmp_path):
    with pytest.raises(UserError) as caught:
        collapse_lm.run(tiny, tmp_path / "r", source=drawing(drawn))
    assert told(caught).where == where
    assert told(caught).fix
    run = collapse_lm.run(tiny, tmp_path / "r", source=drawing(Batch((text(),))))
    assert run.summary["updates"] == 2


def test_what_a_measure_or_objective_returns_is_told(tiny, tmp_path):
    with pytest.raises(UserError) as caught:
        collapse_lm.run(tiny, tmp_path / "r", measures=[lambda at, batch, probe: 3.0])
    assert "lambda" in told(caught).where
    assert "by name" in told(caught).expected
    with pytest.raises(UserError) as caught:
        collapse_lm.run(tiny, tmp_path / "r", objective=lambda chunk: 1.0)
    assert told(caught).where == "objective"


def test_a_single_measure_stands_for_a_list(tiny, tmp_path):
    run = collapse_lm.run(tiny, tmp_path / "r", measures=lambda at, batch, probe: {"my.x": 1})
    assert [row["my.x"] for row in RunReader(run.directory).updates()] == [1, 1, 1]


# --- a run that failed at once -----------------------------------------------------------------


def failing(at):
    raise ZeroDivisionError


@pytest.mark.parametrize("more", ["notes.txt", "model/config.json", "figures/mine.png"])
def test_a_run_that_failed_at_once_is_begun_anew_but_nothing_else_is(more, tiny, tmp_path):
    out = tmp_path / "r"
    with pytest.raises(ZeroDivisionError):
        collapse_lm.run(tiny, out, source=failing)
    assert RunReader(out).manifest()["status"] == "failed"
    (out / more).parent.mkdir(exist_ok=True)
    (out / more).write_text("mine")
    with pytest.raises(UserError, match="already holds a run"):
        collapse_lm.run(tiny, out)
    (out / more).unlink()
    if more.startswith("model"):
        (out / "model").rmdir()
    collapse_lm.run(tiny, out)
    assert RunReader(out).manifest()["status"] == "finished"
    assert len(RunReader(out).updates()) == 3


def test_a_run_that_failed_later_keeps_its_rows(tiny, tmp_path):
    def fails_at_two(at):
        return Batch((text(),)) if at.update == 1 else 1 / 0

    with pytest.raises(ZeroDivisionError):
        collapse_lm.run(tiny, tmp_path / "r", source=fails_at_two)
    with pytest.raises(UserError, match="already holds a run"):
        collapse_lm.run(tiny, tmp_path / "r")
    assert len(RunReader(tmp_path / "r").updates()) == 2


# --- settings of a part ------------------------------------------------------------------------


class Repeating:
    def __init__(self, context, n, path=None, words=""):
        self.n = n

    def draw(self, at):
        return Batch((text(ids=(self.n,) * 20),))

    def replay(self, texts): ...


def test_the_settings_of_a_partial_are_recorded_and_compared(tiny, tmp_path):
    settings = {"n": 5, "path": Path("a.txt"), "words": "long " * 200}
    run = collapse_lm.run(tiny, tmp_path / "r", source=partial(Repeating, **settings))
    recorded = load_config(run.directory).source.settings
    assert (recorded["n"], recorded["path"]) == (5, "a.txt")
    assert recorded["words"].startswith("sha256 ")
    longer = {"run.max_updates": 4}
    for changed in ({"n": 9}, {"words": "long " * 201}):
        other = partial(Repeating, **{**settings, **changed})
        with pytest.raises(UserError) as caught:
            collapse_lm.resume(tmp_path / "r", overrides=longer, source=other)
        assert told(caught).where == "source"
    assert "n=9" in told_settings(tmp_path / "r", settings)
    same = partial(Repeating, **settings)
    assert collapse_lm.resume(tmp_path / "r", overrides=longer, source=same).summary["updates"] == 4


def told_settings(run, settings):
    with pytest.raises(UserError) as caught:
        collapse_lm.resume(
            run, overrides={"run.max_updates": 4}, source=partial(Repeating, **{**settings, "n": 9})
        )
    return told(caught).got


# --- configurations and overrides --------------------------------------------------------------


def test_a_configuration_may_be_a_dictionary(tiny_overrides, gpt2_dir, tmp_path):
    tree = {"extends": "quickstart", "model": str(gpt2_dir), "training": {"learning_rate": 3e-3}}
    assert load_config(tree).collapse == load_config("quickstart").collapse
    assert load_config(tree).training.learning_rate == 3e-3
    run = collapse_lm.run(tree, tmp_path / "r", overrides=[*tiny_overrides, "run.max_updates=1"])
    assert not run.collapsed
    assert run.collapse_update is None
    with pytest.raises(UserError, match="an unknown key"):
        load_config({"modle": "x"})


def test_overrides_may_be_values_by_key():
    values = {
        "training.window": None,
        "training.learning_rate": 1e-5,
        "sampling.prompt": "a=b: é🦊 null",
        "model": Path("some/where"),
        "evaluation.corpora": ["sotu"],
        "run": {"max_updates": 7},
    }
    config = load_config("paper", values)
    assert (config.training.window, config.training.learning_rate) == (None, 1e-5)
    assert (config.sampling.prompt, config.model) == ("a=b: é🦊 null", "some/where")
    assert (config.evaluation.corpora, config.run.max_updates) == (("sotu",), 7)
    assert load_config("paper", ["training.window=None"]).training.window is None


@pytest.mark.parametrize("overrides", ["seed=1", [1], {"source": failing}])
def test_other_overrides_are_one_mistake(overrides):
    with pytest.raises(UserError) as caught:
        collapse_lm.run("quickstart", overrides=overrides)
    assert told(caught).fix


def test_a_run_directory_is_a_configuration(tiny, tmp_path):
    run = collapse_lm.run(tiny, tmp_path / "r")
    assert load_config(run.directory) == load_config(run.directory / "config.yaml") == tiny


def test_a_section_made_in_python_tells_what_is_wrong():
    with pytest.raises(UserError, match=r"did you mean patience\?"):
        CollapseRule(patiens=3)
    with pytest.raises(UserError, match=r"CollapseRule\.patience"):
        CollapseRule(patience=0)
    with pytest.raises(UserError, match=r"Config\.run"):
        collapse_lm.Config(run={"max_updates": -1})


# --- reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [RunReader.updates, RunReader.samples])
def test_a_place_without_a_run_is_told(read, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        read(RunReader(tmp_path / "nope"))
    (tmp_path / "sweep.yaml").touch()
    with pytest.raises(UserError, match=r"tables\(DIR\)"):
        read(RunReader(tmp_path))
    with pytest.raises(UserError, match="no such folder"):
        RunReader(tmp_path / "nope").to_pandas()


# --- the rule and the measures -----------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [list, np.array, torch.tensor, lambda ids: tuple(torch.tensor(ids))]
)
def test_ids_of_any_library_are_measured_alike(make):
    ids = [5, 6] * 40
    found = collapse_lm.measure_samples([make(ids)], ["ab" * 40])
    assert found == collapse_lm.measure_samples([tuple(ids)], ["ab" * 40])
    assert found.seq_rep_4 == pytest.approx(1 - 2 / 77)
    assert collapse_lm.find_loop(make(ids)).share == 1
    row = collapse_lm.probe_row(1, [Text((0,), make(ids), "own", "ab" * 40)])
    assert row["text.distinct_1"] == 2 / 80


@pytest.mark.parametrize("samples", [[1, 2], [[0.5]], [torch.ones(1, 4).long()], []])
def test_what_are_no_ids_is_told(samples):
    with pytest.raises(UserError):
        collapse_lm.measure_samples(samples, ["a"] * len(samples))


@pytest.mark.parametrize("probe", [(), "text", 3, Batch(), Batch((Text((0,), (), "own"),))])
def test_a_probe_without_texts_is_told(probe):
    with pytest.raises(UserError, match="probe_row"):
        collapse_lm.probe_row(1, probe)


def test_the_rule_has_defaults_and_says_what_it_judges():
    assert Watch().rule == CollapseRule()
    row = collapse_lm.probe_row(1, Batch((Text((0,), (5, 6) * 20, "own", "ab" * 20),)))
    assert collapse_lm.judge([row] * 5).collapsed
    for wrong in ("exp/own", Path("exp/own"), [3]):
        with pytest.raises(UserError, match=r"RunReader\(RUN\)\.updates"):
            collapse_lm.judge(wrong)


# --- models ------------------------------------------------------------------------------------


def shifted_tokenizer():
    """The bytes of the other, each with another id."""
    tokenizer = json.loads(byte_tokenizer().backend_tokenizer.to_str())
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {token: (i + 1) % 256 for token, i in vocabulary.items()}
    fast = type(byte_tokenizer())
    from tokenizers import Tokenizer

    end = "<|endoftext|>"
    core = Tokenizer.from_str(json.dumps(tokenizer))
    return fast(tokenizer_object=core, bos_token=end, eos_token=end)


def test_an_evaluation_set_of_another_tokenizer_is_refused(prose_file):
    corpus = f"text:{prose_file}"
    ours = LanguageModel.of(tiny_gpt2(), byte_tokenizer())
    other = LanguageModel.of(tiny_gpt2(), shifted_tokenizer())
    data = collapse_lm.evaluation_set(ours, corpus, context=64)
    same = LanguageModel.of(tiny_llama(), byte_tokenizer())
    assert collapse_lm.evaluate(same, data).tokens == data.tokens
    with pytest.raises(UserError) as caught:
        collapse_lm.evaluate(other, data)
    assert "another tokenizer" in told(caught).got
    assert told(caught).fix == "evaluation_set(model, corpus)"


def test_a_network_alone_is_no_model_and_says_so_briefly():
    for wrong in (tiny_gpt2(), 3):
        for use in (
            lambda m: collapse_lm.evaluate(m, "sotu"),
            collapse_lm.sample,
            collapse_lm.load_model,
        ):
            with pytest.raises(UserError, match=r"LanguageModel\.of") as caught:
                use(wrong)
            assert len(str(caught.value)) < 400


def test_a_model_is_told_briefly_and_saved_where_text_says(tmp_path):
    model = LanguageModel.of(tiny_gpt2(), byte_tokenizer(), "mine")
    assert repr(model) == "LanguageModel('mine', GPT2LMHeadModel, 37,792 parameters)"
    model.save(str(tmp_path / "saved"))
    assert collapse_lm.load_model(tmp_path / "saved").provenance.parameters == 37_792


@pytest.mark.parametrize(
    ("settings", "fix"),
    [({"num_samples": 2}, "samples"), ({"temprature": 1}, "temperature"), ({"seeds": 1}, "seed")],
)
def test_an_unknown_argument_suggests_an_argument(settings, fix):
    model = LanguageModel.of(tiny_gpt2(), byte_tokenizer())
    with pytest.raises(UserError) as caught:
        collapse_lm.sample(model, **settings)
    assert told(caught).fix == f"did you mean {fix}?"


def test_what_is_exported_is_there():
    assert collapse_lm.rng.stream(0, "source", 1)
    for name in collapse_lm.__all__:
        assert getattr(collapse_lm, name) is not None


def test_a_control_reads_a_packaged_corpus_through_its_context(tiny, prose_file, tmp_path):
    class Control:
        def __init__(self, context):
            self.ids = context.encode(context.corpus(f"text:{prose_file}").text)

        def draw(self, at):
            return Batch((text(ids=self.ids[:30]),))

        def replay(self, texts): ...

    run = collapse_lm.run(tiny, tmp_path / "r", source=Control)
    assert RunReader(run.directory).samples()[0].texts[0].text == prose_file.read_text()[:30]


# --- a run directory where a model is wanted ---------------------------------------------------


def test_the_model_of_a_run_that_is_over_can_be_exported_later(tiny, tmp_path):
    kept = {"run.checkpoint_every": 1}
    run = collapse_lm.run(tiny, tmp_path / "r", overrides=kept)
    rows = (run.directory / "updates.jsonl").read_bytes()
    for words in (["eval", "r", "--corpus", "sotu"], ["sample", "r"]):
        done = call(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert "collapse-lm resume r --set run.export_model=true" in done.stderr
    collapse_lm.resume(tmp_path / "r", overrides={"run.export_model": True})
    exported = collapse_lm.load_model(tmp_path / "r" / "model").network.state_dict()
    whole = collapse_lm.run(tiny, tmp_path / "whole", overrides={"run.export_model": True})
    at_once = collapse_lm.load_model(whole.directory / "model").network.state_dict()
    assert all(torch.equal(exported[name], at_once[name]) for name in at_once)
    assert (run.directory / "updates.jsonl").read_bytes() == rows
    done = call("sample", "r", cwd=tmp_path)
    assert "r/model" in done.stderr


def test_a_run_that_kept_no_checkpoint_says_so(tiny, tmp_path):
    collapse_lm.run(tiny, tmp_path / "r", overrides={"run.checkpoint_every": "off"})
    before = (tmp_path / "r" / "updates.jsonl").read_bytes()
    with pytest.raises(UserError, match="without a checkpoint of its last update, 2"):
        collapse_lm.resume(tmp_path / "r", overrides={"run.export_model": True})
    assert (tmp_path / "r" / "updates.jsonl").read_bytes() == before


# --- pictures and pages ------------------------------------------------------------------------


def test_pictures_and_page_of_a_control_say_what_it_trained_on(tiny, tmp_path):
    run = collapse_lm.run(tiny, tmp_path / "r", source=drawing(Batch((text(),)))).directory
    svg, page = (run / "figures" / "losses.svg").read_text(), (run / "samples.md").read_text()
    assert "trained on corpus:book, seed 0" in svg
    assert "train loss on corpus:book" in svg
    assert "own samples (probe)" in svg
    assert "trained on its own samples" not in svg
    assert "Trained on `corpus:book`" in page
    row = RunReader(run).updates()[1]
    losses = [f"{row[name]:.3f}" for name in ("probe.loss", "train.loss")]
    assert "loss of these samples {} · train loss {}".format(*losses) in page


def test_pictures_of_self_training_say_so(tiny, tmp_path):
    run = collapse_lm.run(tiny, tmp_path / "r").directory
    assert "trained on its own samples, seed 0" in (run / "figures" / "losses.svg").read_text()
    assert "Trained on" not in (run / "samples.md").read_text()


def test_prompts_stand_beside_their_samples(tiny, tmp_path):
    (tmp_path / "p.txt").write_text("the first\nthe second\n")
    words = {"sampling.prompts": str(tmp_path / "p.txt"), "sampling.batch_size": 2}
    run = collapse_lm.run(tiny, tmp_path / "r", overrides=words).directory
    prompts = [one.prompt_text for one in RunReader(run).samples()[0].texts]
    assert prompts == ["the first", "the second"]
    assert "after the prompt\n\n```text\nthe second\n```" in (run / "samples.md").read_text()
    settings = [f"--set={key}={value}" for key, value in words.items()]
    done = call("sample", tiny.model, *settings, "--set=sampling.max_new_tokens=5")
    assert "--- sample 2 of 2 after 'the second'\n" in done.stdout


def test_ls_without_runs_says_where_it_looked(tmp_path):
    done = call("ls", cwd=tmp_path)
    assert "no folder runs" in done.stderr
    assert "a folder that holds runs" in done.stderr


def test_a_sweep_takes_overrides_by_key():
    from collapse_lm.sweeps import SweepSpec, with_overrides

    spec = SweepSpec(base="quickstart", grid={"training.learning_rate": [1e-5]})
    changed = with_overrides(spec, {"training.window": None, "sampling.prompt": "a=b"})
    assert changed.set == {"training.window": None, "sampling.prompt": "a=b"}
    with pytest.raises(UserError, match="a dictionary of values"):
        with_overrides(spec, "seed=1")
