"""`collapse-lm reproduce` as a user calls it, on tiny models in the hub's layout."""

import json
import os

import pytest

from collapse_lm.corpora.corpus import DATA_VARIABLE
from collapse_lm.reproduction import Scale, Target, sweeps_for
from collapse_lm.reproduction.plan import LADDER
from collapse_lm.sweeps import plan_sweep

from commands import call, settings
from conftest import save, tiny_gpt2
from gpt2_checkpoint import save_small_hub
from hostile import call as call_here

NAMES = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")
RATES = (2e-5, 5e-5, 1e-4, 3e-4)


@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("scale", Scale)
def test_every_target_plans_at_every_scale(target, scale):
    plans = [plan_sweep(spec) for spec in sweeps_for(target, scale, None, ["ptb"]).values()]
    assert len(plans) == (2 if target is Target.all else 1)
    assert all(plan.runs for plan in plans)


def test_the_paper_scale_is_table_2_with_five_seeds_and_four_sizes(tmp_path):
    specs = sweeps_for(Target.all, Scale.paper, tmp_path, [])
    rates, sizes = (plan_sweep(spec).runs for spec in specs.values())
    for run in (*rates, *sizes):
        assert run.config.evaluation.corpora == ("wikitext2", "ptb")
        assert (run.config.sampling.top_k, run.config.run.max_updates) == (500, 1000)
    assert {run.config.seed for run in rates} == set(range(5))
    assert {run.config.model for run in rates} == {str(tmp_path / "gpt2")}
    assert {run.config.model for run in sizes} == {str(tmp_path / name) for name in NAMES}


def test_the_embedded_scale_has_four_rates_and_the_ladder():
    rates, sizes = sweeps_for(Target.all, Scale.embedded, None, ["ptb"]).values()
    runs = plan_sweep(rates).runs
    by_rate = {rate: [r for r in runs if r.config.training.learning_rate == rate] for rate in RATES}
    assert {len(members) for members in by_rate.values()} == {5}  # seeds
    assert len(runs) == 20  # collapse-is-consistent asks for 13 at least
    assert {run.config.collapse.aftermath_dose for run in runs} == {1.5e-3}
    assert rates.set["evaluation.corpora"] == ["sotu", "sotu-19th", "ptb"]
    assert [model.rpartition("/")[2] for model in sizes.grid["model"]] == list(LADDER)


def test_everything_at_paper_scale_from_local_checkpoints(prose_file, tmp_path):
    for name in NAMES:
        save(tiny_gpt2(), tmp_path / "models" / name)
    small = settings(
        [
            "run.max_updates=2",
            f"evaluation.corpora=[text:{prose_file}]",
            "evaluation.context=64",
            "sampling.max_new_tokens=40",
            "sampling.block_size=32",
            "training.window=32",
            "precision=float32",
        ]
    )
    out = tmp_path / "out"
    words = ["reproduce", "all", "--scale", "paper", "--models", tmp_path / "models"]
    words += ["--seeds", 1, "--out", out, *small]
    done = call(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("4 runs, 0 done before") == 2
    claims = json.loads((out / "claims.json").read_text())
    assert len(claims) >= 6
    found = {claim["id"]: claim["verdict"] for claim in claims}
    assert set(found.values()) == {"undecided", "not tested"}  # one seed decides nothing
    for name in ("figure2", "figure3"):
        assert (out / "figures" / f"{name}.svg").stat().st_size > 1000
    assert (out / "table1.txt").is_file()
    assert (out / "tables" / "runs.csv").read_text().count("\n") == 9
    before = (out / "claims.json").read_bytes()
    again = call_here(*words)
    assert again.out.count("4 runs, 4 done before") == 2
    calls = list(map(json.loads, (out / "calls.jsonl").read_text().splitlines()))
    assert [(call["runs"], call["missing_before"], call["failed"]) for call in calls] == [
        (8, 8, 0),
        (8, 0, 0),
    ]
    assert (out / "claims.json").read_bytes() == before
    words[1] = "fig2"  # what the others measured is not lost
    assert call_here(*words).code == 0
    assert (out / "claims.json").read_bytes() == before
    assert (out / "figures" / "figure3.svg").is_file()


@pytest.mark.skipif(DATA_VARIABLE not in os.environ, reason=f"{DATA_VARIABLE} not set")
def test_figure_2_at_paper_scale_with_gpt2s_tokenizer_and_the_papers_corpora(tmp_path):
    save_small_hub(tmp_path / "models")
    out = tmp_path / "out"
    words = ["--models", tmp_path / "models", "--seeds", 1, "--out", out]
    done = call("reproduce", "fig2", "--scale", "paper", *words, "--set", "run.max_updates=1")
    assert done.returncode == 0, done.stderr
    for run in (out / "learning-rate" / "runs").iterdir():
        corpora = json.loads((run / "manifest.json").read_text())["corpora"]
        assert [(c["tokens"], c["windows"]) for c in corpora] == [(258_659, 100), (92_830, 100)]
    assert (out / "figures" / "figure2.svg").is_file()


def tiny_paper(models, out, prose_file, *changes):
    small = ["run.max_updates=1", f"evaluation.corpora=[text:{prose_file}]", "precision=float32"]
    small += ["sampling.max_new_tokens=40", "sampling.block_size=32", "training.window=32"]
    words = ["--scale", "paper", "--models", models, "--seeds", 1, "--out", out]
    return [*words, *settings([*small, "evaluation.context=64", *changes])]


def test_a_model_that_is_missing_fails_only_its_runs(prose_file, tmp_path):
    save(tiny_gpt2(), tmp_path / "models" / "gpt2")
    out = tmp_path / "out"
    done = call("reproduce", "fig3", *tiny_paper(tmp_path / "models", out, prose_file))
    assert done.returncode == 1, done.stderr
    assert "this time: 1 done, 3 failed" in done.stdout
    for name in NAMES[1:]:  # told before anything begins
        missing = f"1 of 4 runs cannot be done: model {tmp_path / 'models' / name}"
        assert done.stderr.count(missing) == 1
    assert (out / "tables" / "runs.csv").read_text().count("finished") == 1


def test_without_models_and_texts_one_error_tells_it_and_nothing_is_made(tmp_path):
    nowhere = {"COLLAPSE_LM_DATA": "", "HF_HOME": tmp_path / "hf"}
    nowhere |= {"HF_ENDPOINT": "http://127.0.0.1:9"}
    environment = {name: str(value) for name, value in nowhere.items()}
    done = call("reproduce", "fig2", "--scale", "paper", cwd=tmp_path, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    for missing in ("corpus wikitext2\n", "corpus ptb\n", "model gpt2\n"):
        assert done.stderr.count(missing) == 1
    assert not (tmp_path / "reproduction").exists()


def test_bad_settings_leave_nothing(prose_file, tmp_path):
    words = tiny_paper(tmp_path, tmp_path / "out", prose_file)
    assert call_here("reproduce", "fig2", *words, "--set", "sampling.top_k=x").code == 2
    assert call_here("reproduce", "fig2", *words, "--address", "here").code == 2
    assert not (tmp_path / "out").exists()


def test_runs_that_do_not_compare_are_kept_out_of_one_folder(prose_file, tmp_path):
    save(tiny_gpt2(), tmp_path / "models" / "gpt2")
    words = tiny_paper(tmp_path / "models", tmp_path / "out", prose_file)
    first = call_here("reproduce", "fig2", *words, "--set", "run.max_updates=1")
    assert first.code == 0, first.err
    other = call_here("reproduce", "fig2", *words, "--set", "sampling.temperature=1")
    assert other.code == 2
    assert "set.sampling.temperature" in other.err
    assert "not set, as in" in other.err
    assert "choose another --out" in other.err
