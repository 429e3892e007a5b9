"""Export: three typed tables that another program reads without this package."""

import csv
import json
import math
from importlib.util import find_spec

import pytest
from run_dirs import HOSTILE, sweep, write_run

from collapse_lm.analysis.export.columns import SCHEMA, type_of
from collapse_lm.analysis.export.write import export_runs
from collapse_lm.errors import UserError
from collapse_lm.rundir import RunReader

from hostile import call, refused

KINDS = ["csv", "jsonl"]
needs_pyarrow = pytest.mark.skipif(find_spec("pyarrow") is None, reason="pyarrow is not installed")
ALL = [*KINDS, pytest.param("parquet", marks=needs_pyarrow)]


@pytest.fixture
def runs(tmp_path):
    readers = sweep(tmp_path / "runs", {1e-4: [4, None], 3e-4: [2]}, horizon=6)
    write_run(tmp_path / "runs" / "z", diverged=True, updates=3, text=HOSTILE)
    return [*readers, RunReader(tmp_path / "runs" / "z")]


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]


@pytest.mark.parametrize("kind", ALL)
def test_every_row_text_and_run_is_there(kind, runs, tmp_path):
    found = export_runs(tmp_path / "runs", kind, tmp_path / "out")
    count = sum(len(reader.updates()) for reader in runs)
    assert found.rows == {"runs": 4, "updates": count, "samples": count - 4}
    assert found.left_out == {}
    schema = json.loads((tmp_path / "out" / "schema.json").read_text())
    assert (schema["schema"], schema["format"]) == (SCHEMA, kind)
    assert {name: table["rows"] for name, table in schema["tables"].items()} == found.rows


def test_csv_holds_the_numbers_of_the_record(runs, tmp_path):
    export_runs(tmp_path / "runs", "csv", tmp_path / "out")
    rows = read_csv(tmp_path / "out" / "updates.csv")
    for reader in runs:
        name = reader.path.relative_to(tmp_path / "runs").as_posix()
        mine = [row for row in rows if row["run"] == name]
        for row, known in zip(mine, reader.updates(), strict=True):
            assert int(row["update"]) == known.update
            for key, value in known.values.items():
                assert float(row[key]) == pytest.approx(value, rel=0, abs=0, nan_ok=True)
    last = rows[-1]
    assert (last["train.loss"], last["train.applied"]) == ("nan", "0")  # no number, and a flag
    assert rows[0]["train.loss"] == ""  # does not apply


def test_json_lines_say_what_a_null_was_and_leave_out_what_does_not_apply(runs, tmp_path):
    export_runs(tmp_path / "runs", "jsonl", tmp_path / "out")
    rows = read_jsonl(tmp_path / "out" / "updates.jsonl")
    assert rows[-1]["train.loss"] is None
    assert rows[-1]["nonfinite"] == {"probe.loss": "nan", "train.loss": "nan"} or (
        rows[-1]["nonfinite"] == {"train.loss": "nan", "probe.loss": "nan"}
    )
    assert "train.loss" not in rows[0]
    (run,) = [row for row in read_jsonl(tmp_path / "out" / "runs.jsonl") if row["run"] == "z"]
    assert (run["status"], run["training.learning_rate"], run["seed"]) == ("diverged", 1e-4, 0)


@needs_pyarrow
def test_parquet_has_types_and_tells_its_schema(runs, tmp_path):
    from pyarrow import parquet

    export_runs(tmp_path / "runs", "parquet", tmp_path / "out")
    table = parquet.read_table(tmp_path / "out" / "updates.parquet")
    assert table.schema.metadata[b"schema"] == SCHEMA.encode()
    types = {field.name: str(field.type) for field in table.schema}
    assert types["update"] == "int64"
    assert types["train.loss"] == "double"
    assert types["train.applied"] == "int64"
    field = table.schema.field("validation.loss[sotu]")
    assert field.metadata[b"unit"] == b"nats/token"
    last = table.to_pylist()[-1]
    assert math.isnan(last["train.loss"])
    texts = parquet.read_table(tmp_path / "out" / "samples.parquet")
    assert str(texts.schema.field("ids").type).startswith("list<")
    assert texts.to_pylist()[-1]["text"] == f"{HOSTILE} 3"
    assert texts.to_pylist()[-1]["ids"] == [1]


@pytest.mark.parametrize("kind", ALL)
def test_equal_runs_give_equal_files(kind, runs, tmp_path):
    for place in ("a", "b"):
        export_runs(tmp_path / "runs", kind, tmp_path / place)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert {p.name for p in (tmp_path / "a").iterdir()} == {
        *(f"{name}.{kind}" for name in ("runs", "updates", "samples")),
        "schema.json",
    }


@pytest.mark.parametrize("kind", ALL)
def test_a_hostile_text_comes_back_as_it_was(kind, tmp_path):
    text = 'a "quote", a\nnewline\r, \x00 NUL \udc80 and =1+1'
    run = write_run(tmp_path / "runs" / "a", updates=1, text=text.replace("\udc80", "lone"))
    samples = run.path / "samples.jsonl"  # where only its escape can stand
    samples.write_text(samples.read_text().replace("lone", "\\udc80"))
    export_runs(tmp_path / "runs", kind, tmp_path / "out")
    wanted = f"{text} 1".encode("utf-8", "backslashreplace").decode()
    if kind == "csv":
        rows = read_csv(tmp_path / "out" / "samples.csv")
    elif kind == "jsonl":
        rows, wanted = read_jsonl(tmp_path / "out" / "samples.jsonl"), f"{text} 1"
    else:
        from pyarrow import parquet

        rows = parquet.read_table(tmp_path / "out" / "samples.parquet").to_pylist()
    assert rows[0]["text"] == wanted


def test_a_run_that_is_damaged_is_left_out_and_told(runs, tmp_path):
    (tmp_path / "runs" / "z" / "updates.jsonl").write_text("no json\n")
    found = export_runs(tmp_path / "runs", "csv", tmp_path / "out")
    assert list(found.left_out) == ["z"]
    assert "updates.jsonl, line 1" in found.left_out["z"]
    schema = json.loads((tmp_path / "out" / "schema.json").read_text())
    assert schema["left_out"] == [{"run": "z", "reason": found.left_out["z"]}]
    assert found.rows["runs"] == 3


def test_what_cannot_be_exported_is_refused(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    assert "a folder that holds runs" in refused(
        "export", tmp_path / "empty", "--format", "csv", got="empty"
    )
    refused("export", tmp_path / "none", "--format", "csv", got="none")
    write_run(tmp_path / "runs" / "a", updates=1)
    monkeypatch.setattr("collapse_lm.analysis.export.writers.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"collapse-lm\[parquet\]"):
        export_runs(tmp_path / "runs", "parquet", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_tells_what_it_wrote_and_an_export_is_no_run(tmp_path):
    write_run(tmp_path / "a", updates=2)
    told = call("export", tmp_path / "a", "--format", "jsonl")
    assert "updates.jsonl  3 rows" in told.out
    again = call("export", tmp_path / "a", "--format", "jsonl")
    assert (again.code, again.out) == (0, told.out)


def test_columns_have_the_narrowest_type():
    assert type_of([True, None]) == "boolean"
    assert type_of([1, 2]) == "integer"
    assert type_of([1, 2.5]) == "number"
    assert type_of(["a", None]) == type_of([]) == "string"
    assert type_of(["auto", 3]) == type_of([[1]]) == "json"
