"""Dynamic evaluation by several rules on the same tokens, tuned on another text."""

import csv
import importlib.util
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import collapse_lm
from collapse_lm._util.json_text import to_json
from collapse_lm.analysis.stats.blocks import block_bootstrap
from collapse_lm.config import load_config
from collapse_lm.dynamic.gain import gained
from collapse_lm.dynamic.rules import DECAYS, EPSILONS, RATES, RULES, Rule, climb, rules_of, tuned
from collapse_lm.errors import UserError
from collapse_lm.rundir import RunReader

from conftest import PROSE
from hostile import call

QUICK = ["precision=float32", "run.threads=1", "observers=[]", "run.report=false"]
SEGMENT = 16
VALUES = ("learning_rate", "decay", "epsilon")
NAMES = ("krause", "adamw", "sgd")


@pytest.fixture(scope="module")
def other_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("other") / "other.txt"
    path.write_text(PROSE[::-1] * 9, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def asked(gpt2_dir, prose_file, other_file):
    return {
        "model": gpt2_dir,
        "corpus": f"text:{prose_file}",
        "tokens": 12 * SEGMENT,
        "segment": SEGMENT,
        "rule": NAMES,
        "tune": f"text:{other_file}",
        "tune_tokens": 4 * SEGMENT + 3,
        "statistics": f"text:{other_file}",
        "overrides": QUICK,
    }


@pytest.fixture(scope="module")
def done(asked, tmp_path_factory):
    return collapse_lm.dynamic_eval(**asked, out=tmp_path_factory.mktemp("rules") / "all")


def losses(folder):
    return np.array([row.get("train.loss") for row in RunReader(folder).updates()[1:]])


def test_every_rule_scores_the_same_tokens(done):
    found = done.summary
    assert (found["tokens"], found["segments"], list(found["rules"])) == (192, 12, list(NAMES))
    for name, told in found["rules"].items():
        series = losses(done.directory / name)
        assert told["dynamic_loss"] == pytest.approx(series.mean())
        assert told["dynamic_perplexity"] == pytest.approx(math.exp(series.mean()))
        # a byte is a token of the tiny model
        assert told["dynamic_bits_per_byte"] == pytest.approx(series.mean() / math.log(2))
        assert told["difference"] == pytest.approx(series.mean() - found["static_loss"])
    first = {name: losses(done.directory / name)[0] for name in NAMES}
    assert len(set(first.values())) == 1  # nothing is learned before the first


def test_differences_between_rules_are_paired(done):
    between = done.summary["between"]
    assert list(between) == ["krause - adamw", "krause - sgd", "adamw - sgd"]
    krause, sgd = (losses(done.directory / name) for name in ("krause", "sgd"))
    wanted = block_bootstrap(list(krause - sgd), seed=0)
    told = between["krause - sgd"]
    assert told["difference"] == pytest.approx(wanted.value)
    assert (told["difference_lower"], told["difference_upper"]) == pytest.approx(
        (wanted.lower, wanted.upper)
    )


def test_values_are_the_best_that_were_tried_on_the_other_text(done, other_file):
    found = done.summary
    assert found["tuned_on"] == f"text:{other_file}"
    assert found["tuned_tokens"] == 4 * SEGMENT
    for name, told in found["rules"].items():
        tried = found["tuning"][name]
        best = min(tried, key=lambda one: one["loss"])
        values = {key: told[key] for key in VALUES if key in told}
        assert values == {key: value for key, value in best.items() if key != "loss"}
        config = load_config(done.directory / name / "config.yaml")
        assert config.training.learning_rate == told["learning_rate"]
        folders = [p for p in (done.directory / "tuning").iterdir() if p.name.startswith(name)]
        assert len(folders) == len(tried)
        configs = [load_config(p / "config.yaml") for p in folders]
        assert {c.source.corpus for c in configs} == {f"text:{done.directory}/tuning/text.txt"}


def test_no_run_of_the_tuning_reads_more_than_the_beginning_of_the_text(done, other_file):
    read, whole = (done.directory / "tuning" / "text.txt").read_text(), other_file.read_text()
    assert whole.startswith(read)
    assert 4 * SEGMENT < len(read) < len(whole)


def test_the_gain_along_the_text_is_a_table(done):
    with (done.directory / "gain.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["tokens"]) for row in rows] == [SEGMENT * n for n in range(1, 13)]
    static = np.array([float(row["static"]) for row in rows])
    krause = losses(done.directory / "krause")
    assert static.mean() == pytest.approx(done.summary["static_loss"])
    assert [float(row["krause"]) for row in rows] == pytest.approx(krause)
    ends = [np.mean(static[:n] - krause[:n]) for n in range(1, 13)]
    assert [float(row["krause_gain"]) for row in rows] == pytest.approx(ends)
    assert float(rows[-1]["krause_gain"]) == pytest.approx(
        -done.summary["rules"]["krause"]["difference"]
    )


def test_the_same_call_finds_it_and_another_is_refused(done, asked):
    before = (done.directory / "summary.json").read_bytes()
    assert collapse_lm.dynamic_eval(**asked, out=done.directory).summary == done.summary
    assert (done.directory / "summary.json").read_bytes() == before
    with pytest.raises(UserError, match="another evaluation: tokens"):
        collapse_lm.dynamic_eval(**{**asked, "tokens": 160}, out=done.directory)


@pytest.mark.parametrize("place", ["tuning", "scored"])
def test_what_was_interrupted_goes_on(place, done, asked, tmp_path):
    where = {"tuning": "tuning/*/updates.jsonl", "scored": "sgd/updates.jsonl"}[place]
    out = tmp_path / "r"

    def has_begun():
        return any(len(path.read_text().splitlines()) == 3 for path in out.glob(where))

    alone = {**asked, "rule": ["sgd"], "out": out}
    first = collapse_lm.dynamic_eval(**alone, should_stop=has_begun)
    assert first.summary == {"status": "interrupted"}
    assert (out / "sgd").exists() == (place == "scored")
    found = collapse_lm.dynamic_eval(**alone).summary
    assert found["rules"] == {"sgd": done.summary["rules"]["sgd"]}
    assert found["tuning"] == {"sgd": done.summary["tuning"]["sgd"]}


def test_one_rule_alone_is_an_ordinary_run(done, asked, tmp_path):
    """With the values of the tuning it gives the same losses, and a table and figure of its own."""
    told = done.summary["rules"]["krause"]
    words = [word for word in QUICK if word != "run.report=false"]
    words += [f"training.learning_rate={told['learning_rate']}"]
    words += [f"training.optimizer.{name}={told[name]}" for name in ("decay", "epsilon")]
    alone = {**asked, "rule": "krause", "tune": None, "overrides": words}
    result = collapse_lm.dynamic_eval(**alone, out=tmp_path / "r")
    for name in ("dynamic_loss", "dynamic_bits_per_byte", "difference"):
        assert result.summary[name] == told[name]
    assert result.summary["static_perplexity"] == done.summary["static_perplexity"]
    assert (result.directory / "gain.csv").exists()
    assert "gain (nats per token)" in (result.directory / "figures" / "gain.svg").read_text("utf-8")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rule": "adam"}, "adamw, sgd, krause"),
        ({"rule": "sgd,sgd"}, "each once"),
        ({"rule": []}, "nothing"),
        ({"tune": "SCORED"}, "--tune"),
        ({"statistics": "SCORED"}, "--statistics"),
        ({"rule": "krause", "tune": None, "statistics": "SCORED"}, "--statistics"),
        ({"tune": "text:nowhere.txt"}, "nowhere.txt"),
        ({"tune_tokens": 3}, r"other\.txt\n  got +3 tokens to score"),
        ({"tune_tokens": 0}, "--tune-tokens"),
        ({"overrides": [*QUICK, "training.learning_rate=1"]}, "training.learning_rate"),
        ({"overrides": [*QUICK, "training.window=8"]}, "training.window"),
    ],
)
def test_what_cannot_be_compared_is_refused(changes, told, asked, tmp_path):
    changes = {k: asked["corpus"] if v == "SCORED" else v for k, v in changes.items()}
    with pytest.raises(UserError, match=told):
        collapse_lm.dynamic_eval(**{**asked, **changes}, out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_the_command_prints_a_table(done, asked):
    words = ["dynamic-eval", asked["model"], "--corpus", asked["corpus"], "--tokens", 192]
    words += ["--segment", SEGMENT, "--rule", ",".join(NAMES), "--tune", asked["tune"]]
    words += ["--tune-tokens", asked["tune_tokens"], "--statistics", asked["statistics"]]
    words += ["--out", done.directory]
    words += [word for setting in QUICK for word in ("--set", setting)]
    told = call(*words)
    assert told.code == 0, told.err
    krause = done.summary["rules"]["krause"]
    line = next(line for line in told.out.splitlines() if line.startswith("krause "))
    assert line.split()[1:4] == [
        f"{krause[f'dynamic_{unit}']:.4f}" for unit in ("loss", "perplexity", "bits_per_byte")
    ]
    assert (
        f"krause - sgd: {done.summary['between']['krause - sgd']['difference']:.4f} (" in told.out
    )
    assert f"krause: rate {krause['learning_rate']:g}, decay" in told.out
    assert max(map(len, told.out.splitlines()[:-1])) <= 80
    assert json.loads(call(*words, "--json").out) == done.summary


def test_what_is_kept_gives_the_table_of_the_findings(done, tmp_path):
    path = Path(__file__).parents[1] / "docs" / "scripts" / "dynamic_rules.py"
    spec = importlib.util.spec_from_file_location("dynamic_rules", path)
    script = importlib.util.module_from_spec(spec)
    sys.modules["dynamic_rules"] = script
    spec.loader.exec_module(script)
    assert "not run yet" in script.render(tmp_path)
    script.main([str(done.directory), "prose", "--results", str(tmp_path)])
    lines = script.render(tmp_path).splitlines()
    krause, static = done.summary["rules"]["krause"], done.summary
    row = next(line for line in lines if line.startswith("| krause |")).split(" | ")
    assert row[1] == ", ".join(f"{krause[name]:g}" for name in VALUES)
    units = ("loss", "perplexity", "bits_per_byte")
    wanted = [krause[f"dynamic_{unit}"] for unit in units]
    assert [float(cell) for cell in row[2:5]] == pytest.approx(wanted, abs=2e-2)
    difference, lower, upper = re.findall(r"-?\d+\.\d+", row[5])
    assert float(difference) == pytest.approx(krause["difference"], abs=1e-3)
    assert float(lower) == pytest.approx(krause["difference_lower"], abs=1e-3)
    assert float(upper) == pytest.approx(krause["difference_upper"], abs=1e-3)
    assert f"| static |  | {static['static_loss_longest']:.4f} |" in "\n".join(lines)
    pair = next(line for line in lines if line.startswith("| krause - sgd |"))
    between = static["between"]["krause - sgd"]["difference"]
    assert float(pair.split(" | ")[1].split()[0]) == pytest.approx(between, abs=1e-3)
    assert (tmp_path / "dynamic-rules" / "prose" / "gain.svg").read_text().startswith("<?xml")


# --- the search --------------------------------------------------------------------------------


def test_a_search_walks_to_the_best_of_a_grid_and_tries_each_value_once():
    tried = []

    def loss(value):
        tried.append(value)
        return abs(value - 7.2)

    assert climb(range(10), 2, loss) == 7
    assert sorted(tried) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert climb(range(10), 9, lambda value: -value) == 9  # at the end of the grid
    assert climb([1, 2], 1, lambda value: 0.0) == 1  # of equals the start


def test_a_run_that_diverged_is_the_worst():
    assert climb(range(5), 2, lambda value: math.nan if value > 2 else -value) == 2
    assert climb(range(3), 1, lambda value: math.nan) == 1


def test_a_run_that_diverged_can_be_told():
    tried = {"tuning": {"krause": [{"loss": 3.0}, {"loss": math.nan}]}, "limits": (1, math.inf)}
    found = json.loads(to_json(tried))
    assert found["tuning"]["krause"] == [{"loss": 3.0}, {"loss": None}]
    assert found["nonfinite"] == ["tuning.krause.1.loss", "limits.1"]


def test_the_rate_is_tuned_first_and_the_decay_last():
    def loss(rule):
        step = rule.learning_rate / (rule.epsilon or 1e-3)
        far = abs(math.log(step / 0.3)) + abs(math.log((rule.epsilon or 1e-3) / 1e-1))
        return far + (rule.decay or 0)

    assert tuned(RULES["krause"], loss) == Rule("krause", 3e-2, 0.0, 1e-1)
    assert tuned(RULES["sgd"], loss) == Rule("sgd", 3e-4)


def test_the_rate_goes_along_with_epsilon_and_is_searched_anew():
    tried = []

    def loss(rule):
        tried.append((rule.learning_rate, rule.epsilon))
        best = 1e-5 if rule.epsilon == 1e-3 else 3e-6  # where epsilon is another, another rate
        scaled = rule.learning_rate * 1e-3 / rule.epsilon
        return abs(math.log(scaled / best)) + abs(math.log(rule.epsilon / 1e-4)) * 2 + rule.decay

    assert tuned(RULES["krause"], loss) == Rule("krause", 3e-7, 0.0, 1e-4)
    assert (1e-6, 1e-4) in tried


def test_rules_have_values_of_the_grid():
    assert {rule.learning_rate for rule in rules_of("adamw,sgd,krause")} <= {*RATES}
    assert RULES["krause"].decay in DECAYS
    assert RULES["krause"].epsilon in EPSILONS


def test_a_gain_is_the_mean_so_far():
    gain = gained(np.array([3.0, 3.0, 3.0]), np.array([3.0, 2.0, 1.0]))
    assert gain.tolist() == [0, 0.5, 1]
