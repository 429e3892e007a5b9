"""What a reproduction writes: figures, tables, Table 1 and claims, from made-up runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from run_dirs import HOSTILE, sweep, write_run

from collapse_lm.analysis.outcomes import measure_runs
from collapse_lm.errors import UserError
from collapse_lm.report.reproduction import write_reproduction
from collapse_lm.report.style import looks, shown
from collapse_lm.report.table1 import choose_run, stages, table1_markdown, table1_text

FIGURES = ("figure2", "figure3", "figure4", "survival", "dose", "phase")


def everything(folder):
    rates = sweep(
        folder / "rate",
        {2e-5: [26, None, 24], 1.6e-4: [9, 11, 8]},
        corpora=("wikitext2", "ptb"),
    )
    sizes = [
        write_run(
            folder / "size" / f"{n}-{s}", seed=s, model=f"m{n}", parameters=n, collapse=collapse
        )
        for n, times in ((300_000, [25, None]), (5_000_000, [9, 12]))
        for s, collapse in enumerate(times)
    ]
    cells = [
        write_run(
            folder / "phase" / f"{length}-{temperature}-{rate}-{seed}",
            length=length,
            temperature=temperature,
            rate=rate,
            seed=seed,
            collapse=None if temperature > 1 else 8 + seed,
        )
        for length in (100, 200)
        for temperature in (0.8, 1.2)
        for rate in (2e-5, 1e-4)
        for seed in range(2)
    ]
    return {"learning rate": rates, "size": sizes, "phase": cells}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    from conftest import every_format  # here, as another process imports this file too

    folder = tmp_path_factory.mktemp("reproduction")
    with every_format():
        write_reproduction(everything(folder / "runs"), folder / "out")
    return folder


def labels(path):
    """Texts of an svg, which matplotlib leaves beside the outlines of their letters."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.strip()[5:-4] for line in lines if line.strip().startswith("<!-- ")]


def test_every_figure_is_there_in_three_formats(written):
    for name in FIGURES:
        for suffix, start in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
            content = (written / "out" / "figures" / f"{name}.{suffix}").read_bytes()
            assert content.startswith(start)
            assert len(content) > 4000


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "figure2",
            [
                *("updates", "loss (nats per token)", "validation: wikitext2"),
                *("train: own samples", "learning rate", "2e-5", "1.6e-4"),
            ],
        ),
        ("figure3", ["parameters", "300k", "5M", "onset of collapse (updates)", "updates"]),
        ("figure4", ["validation: ptb", "train: own samples", "2e-5", "1.6e-4"]),
        ("survival", ["share of runs not collapsed", "updates", "2e-5 (3)", "1.6e-4 (3)"]),
        (
            "phase",
            [
                *("100 tokens per sample", "200 tokens per sample", "temperature"),
                *("learning rate", "&gt;30", "8", "0/2", "2/2", "median collapse (updates)"),
            ],
        ),
    ],
)
def test_axes_have_names_and_units(name, words, written):
    found = labels(written / "out" / "figures" / f"{name}.svg")
    assert set(words) <= set(found), found


def test_captions_say_what_is_drawn(written):
    captions = (written / "out" / "figures" / "captions.md").read_text()
    for name in FIGURES:
        assert f"## {name}\n" in captions
    assert "the band is the range of the runs (fewer than five)" in captions
    assert "standard error" not in captions


def test_equal_runs_give_equal_files_in_another_process_and_place(written, tmp_path):
    """Names in the tables are relative, and nothing depends on the hash seed of Python."""
    code = (
        "import sys; from pathlib import Path; from test_paper_figures import *\n"
        "folder = Path(sys.argv[1]); write_reproduction(everything(folder / 'r'), folder / 'out')"
    )
    here = Path(__file__).parent
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=here, check=True)
    first = {p.relative_to(written): p.read_bytes() for p in (written / "out").rglob("*.*")}
    again = {p.relative_to(tmp_path): p.read_bytes() for p in (tmp_path / "out").rglob("*.*")}
    assert first.keys() == again.keys()
    assert [name for name in first if first[name] != again[name]] == []


def test_the_claims_are_written_as_they_are_returned(written, tmp_path):
    claims = write_reproduction(everything(tmp_path / "runs"), tmp_path / "out").claims
    rows = json.loads((tmp_path / "out" / "claims.json").read_text())
    assert rows == [claim.row() for claim in claims]
    page = (tmp_path / "out" / "claims.md").read_text()
    assert "Judged on smollm2-135m, " in page
    assert "sotu (not the paper's models, not only its texts)." in page
    for claim in claims:
        assert f"## {claim.id}: {claim.verdict}" in page
    table = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(table) == 2 + len(claims)
    assert {line.replace("\\|", "").count("|") for line in table} == {6}


def test_reading_runs_and_drawing_does_not_import_torch():
    code = (
        "import sys; from collapse_lm.report.reproduction import write_reproduction\n"
        "from pathlib import Path; import tempfile\n"
        "write_reproduction({}, Path(tempfile.mkdtemp())); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_group_has_no_figure_and_an_old_one_is_removed(written, tmp_path):
    out = tmp_path / "out"
    groups = everything(tmp_path / "runs")
    write_reproduction({"learning rate": groups["learning rate"]}, out)
    assert {p.stem for p in (out / "figures").glob("*.svg")} == {
        *("figure2", "figure4", "survival", "dose"),
    }
    again = write_reproduction({"size": groups["size"], "phase": []}, out)
    assert {p.stem for p in (out / "figures").glob("*.svg")} == {"figure3"}
    captions = (out / "figures" / "captions.md").read_text()
    assert "## figure2" not in captions
    reason = "no run of the group learning rate has ended"
    assert again.not_drawn["figure2"] == reason
    assert f"## Not drawn\n\n- figure2: {reason}" in captions
    assert again.claims[2].verdict == "not tested"
    with pytest.raises(UserError, match="lerning rate"):
        write_reproduction({"lerning rate": []}, out)


def test_without_runs_everything_is_written_and_says_so(tmp_path):
    failed = write_run(tmp_path / "runs" / "a|b", status="failed")
    claims = write_reproduction({"learning rate": [failed]}, tmp_path / "out").claims
    assert {claim.verdict for claim in claims} == {"not tested"}
    assert "no table" in (tmp_path / "out" / "table1.txt").read_text()
    assert "- `a|b`: status: failed" in (tmp_path / "out" / "claims.md").read_text()
    assert not list((tmp_path / "out" / "figures").glob("*.svg"))


@pytest.mark.parametrize(
    "options",
    [
        {"times": {1e-4: [None]}, "horizon": 0},
        {"times": {1e-4: [None]}, "horizon": 1},
        {"times": {1e-4: [2]}},
        {"times": {0.0: [None, None], 1e-4: [None, None]}},
        {"times": {1e-4: [5, 5, 5, 5, 5, 5], 2e-4: [5]}, "every": 3},
        {"times": {1e-4: [None, 4]}, "validation": lambda u, c: 3.0 if not u else float("nan")},
        {"times": {r / 1e5: [3] for r in range(1, 13)}},
    ],
)
def test_figures_are_drawn_whatever_there_is(options, tmp_path):
    times = options.pop("times")
    groups = dict.fromkeys(
        ("learning rate", "size", "phase"), sweep(tmp_path / "r", times, **options)
    )
    write_reproduction(groups, tmp_path / "out")
    for name in ("figure2", "figure3", "survival", "phase"):
        assert (tmp_path / "out" / "figures" / f"{name}.svg").stat().st_size > 3000


def test_hostile_names_and_texts_stay_text(tmp_path):
    runs = [
        write_run(
            tmp_path / "r" / f"{s}\x1b[2J|`",
            seed=s,
            collapse=6,
            model=HOSTILE,
            parameters=100,
            corpora=("sotu", HOSTILE),
            text=HOSTILE,
        )
        for s in range(2)
    ]
    runs.append(write_run(tmp_path / "r" / "x", collapse=5, model="twin", parameters=100))
    write_reproduction({"learning rate": runs, "size": runs}, tmp_path / "out")
    for path in (tmp_path / "out").rglob("*.*"):
        if path.suffix in (".svg", ".csv", ".md", ".txt", ".json"):
            text = path.read_text(encoding="utf-8")
            assert "\x1b" not in text, path
            assert "\u202e" not in text, path
    assert "<script>" not in (tmp_path / "out" / "figures" / "figure4.svg").read_text()
    page = (tmp_path / "out" / "table1.md").read_text()
    assert "`````text" in page
    assert "<script>" not in (tmp_path / "out" / "claims.md").read_text().replace("\\<", "")


def test_lines_differ_and_names_fit_the_font():
    assert len({(look["color"], look["linestyle"]) for look in looks(28)}) == 28
    assert shown("caf\u00e9 \u4e2d") == "caf\u00e9 U+4E2D"
    assert len(shown("x" * 100)) == 40


# Table 1


def outcome(folder, **options):
    (found,) = measure_runs([write_run(folder, **options)])[0]
    return found


def test_the_stages_are_the_papers_scaled_to_the_run(tmp_path):
    found = outcome(tmp_path / "a", collapse=133, updates=133)
    assert [update for update, _ in stages(found.outcome)] == [1, 50, 100, 133, 137]
    assert [words for _, words in stages(found.outcome)][-2:] == ["collapse", "last"]
    never = outcome(tmp_path / "b", updates=80)
    assert stages(never.outcome)[1:] == [
        (30, "3/8 of the way"),
        (60, "6/8 of the way"),
        (80, "last"),
    ]
    early = outcome(tmp_path / "c", collapse=1)
    assert stages(early.outcome) == [(1, "collapse"), (5, "last")]


def test_the_table_shows_the_samples_of_its_stages(tmp_path):
    found = outcome(tmp_path / "a", collapse=16, model="gpt2", rate=2e-5, seed=4)
    text, page = table1_text(found), table1_markdown(found)
    for update in (1, 6, 12, 16, 20):
        assert f"\nsome text {update}\n" in text
        assert f"```text\nsome text {update}\n```" in page
    assert "gpt2, learning rate 2e-5, temperature 0.8, seed 4: collapsed at update 16" in text
    assert "Update 16 (collapse): train loss 0.05 nats per token, loop share 0.90" in text


def test_the_run_of_median_time_is_shown(tmp_path):
    readers = sweep(tmp_path / "a", {1e-4: [7, 3, None, 9, 5]})
    assert choose_run(measure_runs(readers)[0]).outcome.time == 5
    never = sweep(tmp_path / "b", {1e-4: [None, None]})
    assert choose_run(measure_runs(never)[0]).outcome.run.endswith("seed1")
    assert choose_run([]) is None
