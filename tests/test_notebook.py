"""What a notebook shows of runs and sweeps, and the example notebook itself."""

import ast
import json
from pathlib import Path

import pytest
from run_dirs import HOSTILE, write_run

from collapse_lm import RunReader
from collapse_lm.report.card import run_card, spark, sweep_card, verdict
from collapse_lm.rundir.process import RunResult
from collapse_lm.sweeps.job import SweepResult, SweptRun

NOTEBOOK = Path(__file__).parents[1] / "examples" / "look_at_a_run.ipynb"
ENDED = {
    "collapsed": True,
    "collapse_update": 5,
    "reason": "collapse: loop_share for 5 updates in a row",
    "updates": 9,
    "status": "finished",
    "validation": {},
}


def ended_run(place, **options):
    run = write_run(place, collapse=5, **options)
    (place / "summary.json").write_text(json.dumps(ENDED))
    return run


def test_a_run_shows_its_verdict_numbers_and_curves(tmp_path):
    shown = ended_run(tmp_path / "my-run")._repr_html_()
    assert "Collapsed at update 5: loop_share for 5 updates in a row." in shown
    assert "<b>my-run</b>" in shown
    assert "3.090 nats/token" in shown
    assert "base model: 3.000" in shown
    assert shown.count("<svg") == 3
    assert RunResult(tmp_path / "my-run", ENDED)._repr_html_() == shown


def test_what_the_base_model_drew_is_told_as_it_was_recorded(tmp_path):
    assert "base model: 0% in a loop" in ended_run(tmp_path / "a")._repr_html_()
    began = {**ENDED, "collapse_update": 1, "degenerate_before_training": True}
    run = write_run(tmp_path / "b", collapse=1)
    (tmp_path / "b" / "summary.json").write_text(json.dumps(began))
    shown = run._repr_html_()
    assert "Degenerate before any training" in shown
    assert "Collapsed at update" not in shown
    assert "base model: 0%" not in shown
    card = run_card("c", run.manifest(), None, run.updates()[:1])
    assert "base model: not" not in card  # update 1 has not been: nothing is known


def test_a_run_that_goes_on_or_cannot_be_read_is_no_error(tmp_path):
    assert "Running, 5 updates so far." in write_run(tmp_path / "a", updates=5)._repr_html_()
    assert RunReader(tmp_path / "none")._repr_html_() is None
    (tmp_path / "a" / "updates.jsonl").write_text("no json\n")
    assert RunReader(tmp_path / "a")._repr_html_() is None


def test_names_are_text_and_nothing_runs(tmp_path):
    place = tmp_path / "<img src=x onerror=alert(1)>"
    shown = ended_run(place, model=HOSTILE, corpora=(HOSTILE,))._repr_html_()
    assert "<img" not in shown
    assert "<script" not in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_a_sweep_shows_a_line_per_run(tmp_path):
    run = ended_run(tmp_path / "a")
    swept = [
        SweptRun("a", run.path, {"training.learning_rate": rate}, 0, "done", "<b>told</b>", ENDED)
        for rate in (1e-5, 1e-4)
    ]
    shown = SweepResult(tmp_path, tuple(swept), 0)._repr_html_()
    assert "2 of 2 runs have ended, 2 of them collapsed" in shown
    assert shown.count("<tr>") == 3
    assert "&lt;b&gt;told" in shown
    many = [vars(swept[0])] * 60
    assert "and 10 more" in sweep_card("s", [], many)


@pytest.mark.parametrize("values", [[], [1.0], [float("nan")] * 3, [2.0, 2.0], [1.0, float("inf")]])
def test_a_small_curve_is_drawn_whatever_there_is(values):
    assert "nan" not in spark(values, "t").lower().replace("polyline", "")


def test_a_run_without_rows_has_a_card():
    manifest = {"model": {"reference": "m"}, "seed": 1}
    assert "Running, 0 updates" in run_card("r", manifest, None, [])
    assert verdict({**ENDED, "collapsed": False, "reason": "censored: x"}, []) == (
        "No collapse in 9 updates (censored: x)."
    )


@pytest.mark.slow
def test_the_example_notebook_runs(tiny_overrides, tmp_path, monkeypatch):
    """Each cell as Python, with other parameters; the last line of a cell is what it shows."""
    monkeypatch.chdir(tmp_path)
    tiny = dict(word.split("=", 1) for word in tiny_overrides if "learning_rate" not in word)
    tiny["evaluation.corpora"] = [tiny["evaluation.corpora"].strip("[]")]
    given = {"overrides": {**tiny, "run.max_updates": 2}, "rates": [1e-3, 3e-3]}
    names, shown = {}, []
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            shown.append(executed("".join(cell["source"]), names))
            names |= given if "parameters" in cell["metadata"].get("tags", ()) else {}
    html = [value._repr_html_() for value in shown if hasattr(value, "_repr_html_")]
    assert len(html) == 4
    assert "No collapse in 2 updates" in html[0]
    assert "2 of 2 runs have ended" in html[2]
    assert len(names["tables"]["updates"]) == 6


def executed(source, names):
    """Do the lines of a cell; return the value of its last, where that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, NOTEBOOK.name, "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names)
