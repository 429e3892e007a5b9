"""docs/monitor.md: its blocks run, its tables are those of the results, its examples work.

The Python blocks of the page run in order, in one namespace and an empty folder, as a reader would
type them. What is other here stands in SMALLER: the model is a tiny one, and trainings are short.
Given are what the page says is the reader's own: a script with a model, and an engine.
"""

import json
import logging
import re
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import compare_monitors
import measure_monitor
import pytest
import toolkit_rules
import torch
from examples.monitor_engine import engine
from measure_monitor import Scale
from monitor_rows import looks, rollouts
from transformers import Trainer

from collapse_lm import RunReader
from collapse_lm.measures.names import NAMES
from collapse_lm.monitor import CollapseMonitor
from collapse_lm.monitor.settings import MonitorSettings

from commands import call
from conftest import PROSE, save, tiny_gpt2
from trained import arguments, tokenizer, windows

pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers, trl and accelerate

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "monitor.md"
RESULTS = ROOT / "docs" / "results" / "monitor"
TEXT = PAGE.read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.M | re.S)
SMALLER = {
    "max_steps=200": "max_steps=3",
    "logging_steps=5": "logging_steps=1",
    "range(1, 201)": "range(1, 5)",
    "max_completion_length=64": "max_completion_length=16",
    'report_to="none"': 'report_to="none", use_cpu=True, save_strategy="no", disable_tqdm=True',
}
QUICK = {"samples": 2, "max_new_tokens": 16, "held_out_tokens": 256, "every": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reader")
    (folder / "texts.txt").write_text("\n\n".join([PROSE.strip()] * 8), "utf-8")
    save(tiny_gpt2(256), folder / "model")
    return folder


@pytest.fixture(scope="module")
def ran(folder):
    """The namespace in which the blocks of the page ran, and what they printed."""
    llm = SimpleNamespace(step=0)
    llm.generate = lambda prompts, sampling: engine(next(steps))
    steps = iter(range(1, 100))
    known = {
        "Trainer": Trainer,
        "model": tiny_gpt2(256),
        "tokenizer": tokenizer(),
        "args": arguments("first", max_steps=2),
        "dataset": windows(),
        "llm": llm,
        "sampling": None,
        "QUICK": QUICK,
    }
    printed, said = [], []
    with pytest.MonkeyPatch.context() as patch, listening(said):
        patch.chdir(folder)
        known["print"] = lambda *words: printed.append(" ".join(map(str, words)))
        for language, block in BLOCKS:
            if language == "python":
                exec(compile(smaller(block, folder), block, "exec"), known)
                last = known["trainer"]
                if last.state.global_step == 0:  # the first block leaves the training to a script
                    last.train()
    return SimpleNamespace(known=known, printed=printed, said=said)


@contextmanager
def listening(said):
    """What monitors say meanwhile, on the logger that the page names."""
    logger, handler = logging.getLogger("collapse_lm.monitor"), logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _with_small_probes(found):
    return f"Monitor({found[1]}, **QUICK, "


def smaller(block, folder):
    block = block.replace("HuggingFaceTB/SmolLM2-135M", str(folder / "model"))
    for theirs, ours in SMALLER.items():
        block = block.replace(theirs, ours)
    return re.sub(r"Monitor\((tokenizer)?(?:, )?", _with_small_probes, block)


def test_the_three_lines_stand_at_the_top(ran, folder):
    assert BLOCKS[0][0] == "python"
    assert len([line for line in BLOCKS[0][1].splitlines() if line]) == 3
    assert [RunReader(path).summary()["status"] for path in sorted((folder / "runs").iterdir())]


def test_every_python_block_runs_and_says_what_it_sees(ran, folder):
    made = [RunReader(path) for path in sorted((folder / "runs").iterdir())]
    assert len(made) == sum("Monitor(" in block for kind, block in BLOCKS if kind == "python")
    assert all(reader.summary()["status"] == "finished" for reader in made)
    assert Path(ran.printed[0]).parent.name == "runs"
    for told in ("measuring the baseline", "baseline at step 0: ", "step 2, probe: "):
        assert any(line.startswith(told) for line in ran.said)
    assert "loop since step 12" in ran.said[-1]


def test_the_commands_of_the_page_run(ran, folder):
    (block,) = [block for language, block in BLOCKS if language == "bash"]
    for line in block.splitlines():
        done = call(*line.split()[1:], cwd=folder)
        assert done.returncode == 0, done.stderr
    assert "<html" in (folder / "monitor.html").read_text("utf-8")[:500]


def test_every_setting_is_on_the_page():
    rows = re.findall(r"^\| (`.*?) \|", TEXT.partition("## Settings")[2].partition("## ")[0], re.M)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(MonitorSettings.model_fields)


def test_names_on_the_page_are_names_that_a_monitor_tells(ran):
    callbacks = ran.known["trainer"].callback_handler.callbacks
    (latest,) = [c.monitor.latest for c in callbacks if isinstance(c, CollapseMonitor)]
    seconds = {"collapse/rollouts.overlap", "collapse/pool.overlap"}  # from the second look on
    named = set(re.findall(r"`(collapse/[\w./\[\]]+)`", TEXT)) - {"collapse/NAME"}
    assert len(named) >= 15
    assert named - {*latest} == seconds
    assert {name.removeprefix("collapse/") for name in seconds} <= NAMES.keys()


def small_scale(model):
    return Scale(str(model), rate=1e-3, steps=4, tokens=16, samples=2, round=2, batch=1)


def test_an_arm_is_measured_kept_and_rendered(folder, tmp_path):
    told, lines = measure_monitor.measure("reference", small_scale(folder / "model"))
    assert told["steps"] == 4
    assert told["probes"] == [1, 2, 3, 4] == [line["step"] for line in lines]
    assert len(told["memory_mb"]) == 4
    for name in ("reference", "budget50"):
        measure_monitor.keep(tmp_path, name, small_scale(folder / "model"), told, lines)
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert set(summary["arms"]) == {"reference", "budget50"}
    assert len((tmp_path / "arms.csv").read_text("utf-8").splitlines()) == 9
    assert "own samples, a probe at every step" in measure_monitor.rendered(summary)


def arm(**changes):
    known = {"steps": 20, "asked_steps": 20, "probes": [], "first_shown": {}, "onset": {}}
    more = {"verdict": {}, "healthy_step": None, "seconds_share": 0.05, "memory_mb": []}
    return {**known, **more, **changes}


def held(arms):
    return [rule[2] for rule in measure_monitor.rules(arms)]


def test_what_was_to_be_shown_is_counted_in_probes_of_the_arm_itself():
    reference = arm(onset={"drift": 1, "loop": 10}, verdict={"loop": 11})
    stopped = arm(steps=16, probes=[4, 7, 9, 13, 16], healthy_step=7, onset={"loop": 13})
    assert held({"reference": reference, "budget50": stopped}) == [
        True,
        True,
    ]  # probes 13 and 16 from the onset on; 9 between
    late = {**stopped, "probes": [2, 4, 7, 9, 11, 13, 16], "healthy_step": 2}
    assert held({"reference": reference, "budget50": late}) == [False, False]


def test_still_arms_must_be_silent_and_drift_alone_is_allowed_on_real_text():
    many = list(range(1, 26))
    arms = {"real": arm(first_shown={"drift": 3}), "still": arm(probes=many)}
    assert held(arms) == [True, True]
    arms = {"real": arm(first_shown={"mode": 3}), "still": arm(probes=many[:19])}
    assert held(arms) == [False, False]


def test_the_table_of_arms_is_rendered_from_its_summary():
    place = RESULTS / "summary.json"
    shown = TEXT.partition(measure_monitor.BEGIN)[2].partition(measure_monitor.END)[0]
    wanted = (
        measure_monitor.rendered(json.loads(place.read_text("utf-8"))) if place.exists() else ""
    )
    assert shown == wanted


def test_the_comparison_follows_from_its_tables():
    found = compare_monitors.judge(RESULTS)
    assert found == json.loads((RESULTS / "comparison.json").read_text("utf-8"))
    shown = TEXT.partition(compare_monitors.BEGIN)[2].partition(compare_monitors.END)[0]
    assert shown == compare_monitors.rendered(found)


def test_a_stop_counts_from_the_event_and_without_one_is_false():
    event = {"state": "loop", "step": 50, "all": {"loop": 50}}
    alarm = {"step": 30, "by": ["x"]}
    late = {"step": 70, "by": ["y"]}
    quiet = {"warns": None, "stops": None}
    series = {
        "loop": {
            "event": event,
            "toolkit": quiet,
            "toolkit_mended": {"warns": alarm, "stops": late},
        },
        "mode": {
            "event": None,
            "toolkit": {"warns": alarm, "stops": None},
            "toolkit_mended": quiet,
        },
    }
    series["loop"] |= {"monitor": {"warns": alarm, "stops": late}, "monitor_rollouts": quiet}
    series["mode"] |= {"monitor": quiet, "monitor_rollouts": {"warns": alarm, "stops": alarm}}
    told = [line.partition(": ")[2] for line in compare_monitors._sums(series)]
    assert told == [
        "0 of 1 ruined runs stopped; of 1 healthy runs 1 falsely warned of, 0 falsely stopped.",
        "1 of 1 ruined runs stopped (-20 steps); of 1 healthy runs 0 falsely warned of, 0 falsely "
        "stopped.",
        "1 of 1 ruined runs stopped (-20 steps); of 1 healthy runs 1 falsely warned of, 1 falsely "
        "stopped.",
    ]


def log(steps, **columns):
    return [{"step": n, **{k: v(n) for k, v in columns.items()}} for n in range(1, steps + 1)]


def fired(rows, names=toolkit_rules.READS, trainer="grpo"):
    told = toolkit_rules.findings(rows, trainer, names[trainer])
    return {(rule.name, rule.severity): step for step, rule in reversed(list(told))}


def test_rules_of_the_toolkit_fire_where_its_documentation_says():
    low = fired(log(60, entropy=lambda n: 0.4, loss=lambda n: 0.0))
    assert low == {("mode_collapse_entropy", "high"): 40}  # a mean under 1.0 of over 30 rows
    halved = fired(log(90, entropy=lambda n: 4.0 if n <= 30 else 1.9))
    assert halved == {("mode_collapse_entropy", "medium"): 60, ("grpo_entropy_drop", "medium"): 60}
    far = fired(log(40, kl=lambda n: 0.4))
    assert far["grpo_kl_divergence", "high"] == 10
    assert far["yaml_kl_divergence_high", "high"] == 30


def test_two_series_at_rest_are_restless_to_the_toolkit():
    chance = torch.Generator().manual_seed(0)
    noise = torch.randn(61, 2, generator=chance).tolist()
    rows = log(60, reward=lambda n: noise[n][0], kl=lambda n: 0.01 + 0.001 * noise[n][1])
    assert min(fired(rows).values()) <= 20
    assert {name for name, _ in fired(rows)} == {"instability_hotspot"}


def test_names_that_the_toolkit_lacks_are_read_where_they_are_mended():
    rows = log(80, **{"completions/mean_length": lambda n: 100.0 - n})
    assert fired(rows) == {}
    mended = fired(rows, toolkit_rules.MENDED)
    assert ("length_collapse", "high") in mended
    assert ("grpo_length_drift", "medium") in mended


def test_the_engine_that_turns_bad_is_stopped(tmp_path):
    from examples.monitor_engine import main

    monitor, finding = main(out=tmp_path / "record")
    seen = list(looks(rollouts(RunReader(monitor.path).updates())))
    assert (seen[-1].row.update, seen[-1].within) == (13, {"loop": 12})  # as the tables are read
    assert (finding.step, finding.entered, finding.should_stop) == (13, {"loop": 12}, True)
    assert RunReader(monitor.path).summary()["status"] == "finished"


def test_the_bare_loop_is_watched(folder, tmp_path):
    from examples.monitor_bare_loop import main

    small = {"steps": 5, "tokens": 16, "out": tmp_path / "record", "every": 2}
    monitor, step = main(str(folder / "model"), **small, samples=2, held_out_tokens=256)
    assert step == 5
    assert [row.update for row in RunReader(monitor.path).updates()][:3] == [0, 1, 2]
    assert "train.loss" in RunReader(monitor.path).updates()[1].values


def test_the_trainer_on_its_own_texts_is_watched(folder, tmp_path, monkeypatch):
    from examples.monitor_trainer import main

    monkeypatch.chdir(tmp_path)
    _, state = main(str(folder / "model"), steps=4, out=tmp_path / "record", **QUICK)
    assert state.global_step == 4
    assert any("collapse/probe.entropy" in entry for entry in state.log_history)
