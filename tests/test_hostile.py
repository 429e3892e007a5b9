"""Hostile input: whatever a stranger hands over is used or refused, and never gets out.

Full sizes: COLLAPSE_LM_EXAMPLES=5000 COLLAPSE_LM_DAMAGED=500 (configurations, damaged runs).
"""

import contextlib
import io
import json
import logging
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unicodedata
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel
from transformers import PreTrainedTokenizerFast as FastTokenizer

from collapse_lm.cli.main import main
from collapse_lm.config import load_config
from collapse_lm.config.load import dotted_keys
from collapse_lm.records.directory import CONFIG, MANIFEST, SAMPLES, SUMMARY, UPDATES
from collapse_lm.runner import run

from conftest import PROSE

EXAMPLES = int(os.environ.get("COLLAPSE_LM_EXAMPLES", "300"))
DAMAGED = int(os.environ.get("COLLAPSE_LM_DAMAGED", "40"))
IS_FULL = EXAMPLES >= 5000
LINE = 50_000_000 if IS_FULL else 5_000_000  # bytes of the longest line

ESCAPES = ["\x1b[31;5m", "\x1b]0;owned\x07", "\x9b2J", "\u202e", "\x08\x08", "\r"]
MARKUP = [
    "<script>alert(1)</script>",
    "\n```\n",
    "~~~",
    "\n# heading\n",
    "[a](javascript:b)",
    "[bold]",
]


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def call(*arguments):
    """Call the command line in this process; see that it ends as it may."""
    handlers, root = logging.getLogger().handlers[:], logging.getLogger()
    argv, out, err, code = sys.argv, io.StringIO(), io.StringIO(), 0
    factory = logging.getLogRecordFactory()
    sys.argv, root.handlers = ["collapse-lm", *map(str, arguments)], []
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv, root.handlers = argv, handlers
        logging.setLogRecordFactory(factory)
    outcome = Outcome(code, out.getvalue(), err.getvalue())
    assert outcome.code in {0, 1, 2}, outcome
    assert "Traceback" not in outcome.err
    return outcome


def plain(text):
    """True of a text in which nothing can move a cursor or turn the reading direction."""
    return all(c == "\n" or unicodedata.category(c) not in {"Cc", "Cf", "Cs"} for c in text)


def quiet(*arguments):
    outcome = call(*arguments)
    assert plain(outcome.out), outcome
    assert plain(outcome.err), outcome
    return outcome


def refused(*arguments, got):
    outcome = quiet(*arguments)
    assert outcome.code == 2, outcome
    assert got in outcome.err
    assert "expected" in outcome.err
    return outcome.err


def sets(overrides):
    return [word for override in overrides for word in ("--set", override)]


def tree(folder):
    """What a folder holds: bytes of files, targets of links."""
    return {
        str(p.relative_to(folder)): p.readlink()
        if p.is_symlink()
        else p.read_bytes()
        if p.is_file()
        else None
        for p in folder.rglob("*")
        if p.name != ".lock"
    }


# --- 1. configurations -----------------------------------------------------------------------

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
WILD_VALUES = [
    *("3e-4", ".nan", ".inf", "1e999", "9" * 5000, "0x" + "f" * 5000, "1:1:1:1", "-0", "0o9"),
    *("!!python/object/apply:os.system ['true']", "&a [*a]", "*a", "!!int ''", "!!bool x"),
    *("[" * 300, "{" * 300, "- " * 300, "{a: b}", "null", "~", "yes", "off", "2001-01-01"),
    *("2001-99-99", "'\x1b[31m'", "\u202e", '"\\0\\ud800"', '"\\u202e"', "'", '"', "? x", "="),
    *("<<", "<<: {seed: 1}", "%YAML 9", "---\n---", "\t", "@", "`", "!", "| \n  a", "[1, 1, 1]"),
    *("x" * 5000, "1" * 99, "\x00", "[]", "{}", "true", "text:\x07", "[text:a, 1, null, [2]]"),
]
VALUES = st.sampled_from(WILD_VALUES) | ANY_TEXT | st.integers().map(str) | st.floats().map(str)
KEYS = st.sampled_from([*dotted_keys(), "extends", "<<", "a.b", ""]) | ANY_TEXT
OVERRIDES = st.lists(
    st.builds("{}={}".format, KEYS | st.just("a." * 5000 + "b"), VALUES) | ANY_TEXT, max_size=3
)
NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.dates() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
LINES = st.lists(st.builds("{}: {}".format, KEYS, VALUES), max_size=4).map("\n".join)
SECTIONS = st.dictionaries(
    st.sampled_from(["sampling", "training", "evaluation", "collapse", "run", "seed"]),
    st.dictionaries(st.sampled_from([k.rpartition(".")[2] for k in dotted_keys()]), NESTED),
    max_size=3,
)
FILES = (
    (SECTIONS | NESTED).map(lambda v: yaml.safe_dump(v, allow_unicode=True))
    | LINES
    | ANY_TEXT
    | st.binary(max_size=40)
)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=not IS_FULL,
    suppress_health_check=list(HealthCheck),
)
@given(content=FILES | st.none(), overrides=OVERRIDES)
def test_no_configuration_makes_a_traceback_or_moves_the_cursor(
    tmp_path_factory, content, overrides
):
    reference = "quickstart"
    if content is not None:
        reference = tmp_path_factory.getbasetemp() / "hostile.yaml"
        raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
        reference.write_bytes(raw)
    outcome = quiet("config", "show", reference, *sets(overrides))
    assert outcome.code in {0, 2}
    if outcome.code == 0:  # what is shown is the configuration, and loads again
        shown = tmp_path_factory.getbasetemp() / "shown.yaml"
        shown.write_text(outcome.out, encoding="utf-8")
        assert load_config(shown) == load_config(reference, overrides)
    else:
        assert "got" in outcome.err or "Error" in outcome.err  # ours, or the parser's of options


@pytest.mark.parametrize("value", WILD_VALUES, ids=range(len(WILD_VALUES)))
def test_every_wild_value_is_taken_or_refused_by_a_text_and_by_a_number(value):
    for key in ("model", "training.betas", "seed"):
        assert quiet("config", "show", "quickstart", "--set", f"{key}={value}").code in {0, 2}


def test_a_value_that_turns_the_text_around_is_shown_escaped_and_loads_again(tmp_path):
    shown = quiet("config", "show", "quickstart", "--set", "sampling.prompt=caf\xe9 \u202eabc\x85")
    assert shown.code == 0
    (tmp_path / "c.yaml").write_text(shown.out)
    assert load_config(tmp_path / "c.yaml").sampling.prompt == "caf\xe9 \u202eabc\x85"


# --- 5. YAML ---------------------------------------------------------------------------------

LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "got"),
    [
        (LAUGHS, "an anchor"),
        ("seed: *a", "an alias"),
        ("model: !!python/object/apply:os.system ['touch owned']", "a tag"),
        ("model: !!python/name:os.system", "a tag"),
        ("seed: 1\nseed: 2", "the key 'seed' twice"),
        ("sampling: {top_k: 1, top_k: 2}", "the key 'top_k' twice"),
        ("[" * 100_000, "levels"),
        ("{a: " * 5000, "levels"),
        ("- " * 50_000, "levels"),
        ("[" + "x, " * 300_000 + "]", "values"),
        ("seed: " + "9" * 900_000, "too many digits"),
        ("seed: 1" + ":59" * 300_000, "too many digits"),
        ("x" * 1_000_001, "1000001 bytes"),
        ("seed: 1\n---\nseed: 2", "another document"),
    ],
    ids=lambda value: value[:12],
)
def test_yaml_beyond_plain_values_is_refused_in_a_moment(text, got, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(text)
    begin = time.perf_counter()
    refused("config", "show", "c.yaml", got=got)
    if len(text) < 100_000:
        refused("config", "show", "quickstart", "--set", f"training={text}", got="got")
    assert time.perf_counter() - begin < 10
    assert [item.name for item in tmp_path.iterdir()] == ["c.yaml"]


def test_extends_that_do_not_end_are_refused(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.yaml").write_text("extends: sub/../a.yaml")  # never the same words twice
    refused("config", "show", tmp_path / "a.yaml", got="a.yaml -> ")
    for number in range(12):
        (tmp_path / f"{number}.yaml").write_text(f"extends: {number + 1}.yaml")
    (tmp_path / "12.yaml").write_text("seed: 1")
    refused("config", "show", tmp_path / "0.yaml", got="10.yaml")
    assert quiet("config", "show", tmp_path / "4.yaml").code == 0
    (tmp_path / "nul.yaml").write_text('extends: "a\\0b"')
    refused("config", "show", tmp_path / "nul.yaml", got="a\\x00b")


@pytest.mark.timeout(60)
def test_a_configuration_is_a_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "pipe", tmp_path / "loop", tmp_path, "/dev/zero", "/dev/stdin"):
        refused("config", "show", path, got=str(path))
    for path in ("x" * 5000, "a\0b", "y/" * 5000):
        refused("config", "show", path, got="preset or YAML file")
    (tmp_path / "c.yaml").write_text(f"extends: {tmp_path}/pipe")
    refused("config", "show", tmp_path / "c.yaml", got="pipe")


# --- 2. damaged runs -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory, gpt2_dir, prose_file):
    """A finished run and the same run interrupted after update 3, with checkpoints at 2 and 3."""
    folder = tmp_path_factory.mktemp("runs")
    overrides = [
        f"model={gpt2_dir}",
        "precision=float32",
        f"evaluation.corpora=[text:{prose_file}]",
        "evaluation.context=64",
        "evaluation.tokens=64",
        "sampling.max_new_tokens=12",
        "training.learning_rate=3e-3",
        "run.max_updates=4",
        "run.checkpoint_every=2",
    ]
    run("quickstart", folder / "finished", overrides=overrides)
    seen = []
    run(
        "quickstart",
        folder / "interrupted",
        overrides=overrides,
        observers=[seen.append],
        should_stop=lambda: len(seen) == 4,
    )
    places = sorted(item.name for item in (folder / "interrupted" / "checkpoints").iterdir())
    assert places == ["u000002", "u000003"]
    return folder


def facts(path):
    """The rows of a run without their timings, as far as they can be read."""
    rows = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        row = json.loads(line)
        row.pop("seconds", None)
        rows.append(row)
    return rows


WILD_JSON = [
    *(float("nan"), float("inf"), 10**400, -1, 2**70, 1e308, 0.5, "\ud800", "\x1b[31m", ""),
    *("x" * 10_000, [], {}, [[]], None, True, {"update": 1}, "<script>"),
]


def wild_json(rng, value):
    """Replace one value somewhere inside by another."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.8:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = rng.choice(list(keys))
        value[key] = wild_json(rng, value[key])
        return value
    return rng.choice(WILD_JSON)


def swap_value(rng, path, outside):
    lines = path.read_text("utf-8", "replace").split("\n")
    whole = path.suffix != ".jsonl"
    chosen = 0 if whole else rng.randrange(max(1, len(lines) - 1))
    text = "\n".join(lines) if whole else lines[chosen]
    with contextlib.suppress(ValueError):
        text = json.dumps(wild_json(rng, json.loads(text)))
    lines = [text] if whole else [*lines[:chosen], text, *lines[chosen + 1 :]]
    path.write_text("\n".join(lines))


def flip_bytes(rng, path, outside):
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 5])):
        if content:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def cut(rng, path, outside):
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content) or 1)])


def cut_at_a_line(rng, path, outside):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: rng.randrange(len(lines) or 1)]))


def repeat_a_line(rng, path, outside):
    lines = path.read_bytes().splitlines(keepends=True)
    at = rng.randrange(len(lines) or 1)
    path.write_bytes(b"".join([*lines[: at + 1], *lines[at:]]))


def insert(text):
    def damage(rng, path, outside):
        path.write_bytes(text)

    return damage


def remove(rng, path, outside):
    path.unlink()


def folder(rng, path, outside):
    path.unlink()
    path.mkdir()


def link(rng, path, outside):
    path.unlink()
    path.symlink_to(outside)


def pipe(rng, path, outside):
    path.unlink()
    os.mkfifo(path)


def random_bytes(rng, path, outside):
    path.write_bytes(rng.randbytes(300))


# Damage that leaves nothing of a file that could be mistaken for it.
CERTAIN = {
    "remove": remove,
    "folder": folder,
    "link": link,
    "pipe": pipe,
    "random": random_bytes,
    "empty": insert(b""),
    "deep": insert(b"[" * 200_000 + b"\n"),
    "nul": insert(b"\0" * 200),
}
SUBTLE = [flip_bytes, cut, cut_at_a_line, repeat_a_line, swap_value, swap_value]
RECORD = [CONFIG, MANIFEST, UPDATES, SAMPLES, SUMMARY]


def look_and_resume(place, outside):
    """`ls` beside an intact run, then `resume`; check what must hold whatever is damaged."""
    before = tree(place)
    text, as_json = quiet("ls", place.parent), quiet("ls", place.parent, "--json")
    rows = {row["run"]: row for row in json.loads(as_json.out, parse_constant=pytest.fail)}
    assert (text.code, as_json.code) == (0, 0)
    assert rows["intact"]["status"] == "finished"
    assert tree(place) == before
    outcome = quiet("resume", place)
    intact = facts(place.parent / "intact" / UPDATES)
    if outcome.code == 2:
        assert tree(place) == before
    elif "nothing to do" in outcome.err:  # a number in a finished run that could be another
        assert all(tree(place)[name] == before[name] for name in (UPDATES, SAMPLES))
    else:
        found = facts(place / UPDATES)
        shared = min(len(found), len(intact))
        assert found[:shared] == intact[:shared]  # kept, or done again: the same bit for bit
        assert outcome.code == 1 or len(found) >= len(intact)
    assert outside.read_text() == "precious"
    return rows.get(place.name, {"status": "not listed"})["status"], outcome


@pytest.fixture
def scene(tmp_path, runs):
    """A folder with an intact run, a file outside, and a maker of copies to damage."""
    shutil.copytree(runs / "finished", tmp_path / "runs" / "intact")
    outside = tmp_path / "outside.txt"
    outside.write_text("precious")

    def copy(kind):
        place = tmp_path / "runs" / "damaged"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(runs / kind, place)
        return place

    return copy, outside


@pytest.mark.parametrize("name", RECORD)
def test_what_is_wrong_with_a_file_of_the_record_is_named(name, scene):
    copy, outside = scene
    for how, damage in CERTAIN.items():
        place = copy("finished")
        damage(random.Random(0), place / name, outside)
        status, outcome = look_and_resume(place, outside)
        assert status.startswith("damaged: "), (how, status)
        assert name in status
        assert outcome.code == 2, (how, outcome)
        assert (place.name if (name, how) == (MANIFEST, "remove") else name) in outcome.err


@pytest.mark.parametrize("kind", ["finished", "interrupted"])
def test_a_damaged_run_is_refused_unchanged_or_resumed_bit_for_bit(kind, scene):
    copy, outside = scene
    codes = {0: 0, 1: 0, 2: 0}
    for number in range(DAMAGED // 2):
        rng = random.Random(f"{kind} {number}")
        place = copy(kind)
        files = sorted(
            p for p in place.rglob("*") if p.is_file() and p.suffix not in {".png", ".pdf"}
        )
        weights = [5 if p.name in RECORD else 2 if "checkpoints" in p.parts else 1 for p in files]
        (victim,) = rng.choices(files, weights)
        damages = [*SUBTLE, *SUBTLE, *CERTAIN.values()]
        rng.choice(damages)(rng, victim, outside)
        try:
            codes[look_and_resume(place, outside)[1].code] += 1
        except BaseException as error:
            error.add_note(f"{kind} {number}: {victim.relative_to(place)}")
            raise
    print(kind, codes)
    assert codes[0] > 0
    assert codes[2] > 0


@pytest.mark.parametrize("name", [CONFIG, MANIFEST])
def test_nothing_is_written_where_configuration_or_manifest_is_damaged(name, scene):
    copy, outside = scene
    for damage in CERTAIN.values():
        place = copy("interrupted")
        damage(random.Random(1), place / name, outside)
        before = tree(place)
        assert refused("resume", place, got=name)
        assert tree(place) == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("status", "done"),
        ("seconds", "long"),
        ("seconds", float("nan")),
        ("resumed_after", 5),
        ("seed", 7),
        ("config_sha256", "0"),
        ("model", {"reference": 1}),
        ("corpora", [{}]),
        ("precision", "bfloat16"),
        ("format_version", 2),
    ],
)
def test_a_manifest_with_another_value_is_refused_before_anything_is_cut(key, value, scene):
    copy, _ = scene
    place = copy("interrupted")
    manifest = json.loads((place / MANIFEST).read_text())
    (place / MANIFEST).write_text(json.dumps({**manifest, key: value}))
    before = tree(place)
    refused("resume", place, got="got")
    assert tree(place) == before


def test_a_lone_surrogate_in_the_manifest_survives_a_resume(scene):
    copy, _ = scene
    place = copy("interrupted")
    manifest = json.loads((place / MANIFEST).read_text())
    (place / MANIFEST).write_text(json.dumps({**manifest, "git_commit": "\ud800"}))
    assert quiet("resume", place).code == 0
    assert json.loads((place / MANIFEST).read_text())["git_commit"] == "\ud800"


def test_a_checkpoint_that_claims_rows_past_the_end_is_not_used(scene):
    """Cutting there would lengthen the files by zeros."""
    import hashlib

    copy, outside = scene
    for length in (10**6, -5):
        place = copy("interrupted")
        for state in place.glob("checkpoints/*/state.json"):
            claims = json.loads(state.read_text())
            claims.pop("sha256")
            content = (place / UPDATES).read_bytes()[:length]
            digest = hashlib.sha256(content).hexdigest()
            claims["rows"][UPDATES] = {"bytes": length, "sha256": digest}
            own = hashlib.sha256(json.dumps(claims, sort_keys=True).encode()).hexdigest()
            state.write_text(json.dumps({**claims, "sha256": own}))
        _, outcome = look_and_resume(place, outside)
        assert outcome.code == 2
        assert "cannot be used" in outcome.err
        assert "no checkpoint that can be used" in outcome.err


@pytest.mark.parametrize(
    "name",
    ["figures", "figures/losses.svg", "checkpoints", ".model", "model", "samples.md", ".lock"],
)
def test_a_link_in_a_run_directory_is_not_written_through(name, scene, tmp_path):
    copy, outside = scene
    place = copy("interrupted")
    target = tmp_path / "elsewhere"
    target.mkdir()
    (target / ".u000004").write_text("precious")
    path = place / name
    is_folder = "." not in name[1:] and name != ".lock"
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target if is_folder else outside)
    before = tree(place)
    assert "a link" in refused("resume", place, got=name)
    assert quiet("ls", place).code == 0
    assert (tree(place), outside.read_text()) == (before, "precious")
    assert tree(target) == {".u000004": b"precious"}


# --- 7. ls -----------------------------------------------------------------------------------


def test_ls_of_a_folder_full_of_other_things(scene, tmp_path):
    place = tmp_path / "runs"
    (place / "loop").symlink_to(place)
    (place / "intact" / "up").symlink_to("..")
    (place / "dangling").symlink_to("nowhere")
    for number in range(3000):
        (place / f"{number}.json").touch()
    for number in range(300):
        (place / f"d{number}").mkdir()
        (place / f"d{number}" / MANIFEST).write_text("{}")
    os.mkfifo(place / UPDATES)
    (row,) = json.loads(quiet("ls", place, "--json").out)
    assert (row["run"], row["status"]) == ("intact", "finished")
    assert len(quiet("ls", place).out.splitlines()) < 12  # one row, wrapped at 80 columns


@pytest.mark.skipif(
    os.geteuid() != 0, reason="gives up rights for a moment, which root can take back"
)
def test_ls_passes_over_a_folder_that_may_not_be_read(runs):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(runs / "finished", folder / "good")
        shutil.copytree(runs / "finished", folder / "closed")
        shutil.copytree(runs / "finished", folder / "dark")
        for path in folder.rglob("*"):
            path.chmod(0o755)
        (folder / "closed").chmod(0)
        (folder / "dark" / CONFIG).chmod(0)
        os.seteuid(65534)
        try:
            outcome = quiet("ls", folder, "--json")
        finally:
            os.seteuid(0)
        (folder / "closed").chmod(0o755)
    rows = {row["run"]: row["status"] for row in json.loads(outcome.out)}
    assert rows["good"] == "finished"
    assert "PermissionError" in rows["dark"]
    assert CONFIG in rows["dark"]
    assert set(rows) == {"good", "dark"}


# --- 3. model folders ------------------------------------------------------------------------


class Payload:
    """A pickle that leaves a mark when it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.fixture
def model_dir(gpt2_dir, tmp_path):
    return Path(shutil.copytree(gpt2_dir, tmp_path / "model"))


def edit(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def sample_of(model):
    return quiet("sample", model, "--set", "sampling.max_new_tokens=3")


def test_pickles_are_refused_and_not_run(model_dir, tmp_path):
    mark = tmp_path / "mark"
    pickle.loads(pickle.dumps(Payload(mark)))  # the payload works
    mark.unlink()
    (model_dir / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.pt", "model.ckpt", "adapter_model.bin"):
        torch.save(Payload(mark), model_dir / name)
    refused("sample", model_dir, got="a folder without safetensors")
    # A config that names a pickle as the weights, beside safetensors that look right.
    save_file({"x": torch.zeros(1)}, model_dir / "decoy.safetensors")
    edit(model_dir / "config.json", transformers_weights="adapter_model.bin")
    refused("sample", model_dir, got="transformers_weights")
    edit(model_dir / "config.json", transformers_weights=None)
    refused("sample", model_dir, got="transformers_weights")
    assert not mark.exists()


def test_an_adapter_is_refused(model_dir):
    (model_dir / "adapter_config.json").write_text('{"base_model_name_or_path": "/etc"}')
    refused("sample", model_dir, got="adapter_config.json")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("kind", ["gpt2", "stranger"])
def test_code_in_a_model_folder_is_not_run(name, kind, model_dir, tmp_path):
    mark = tmp_path / "mark"
    (model_dir / "owned.py").write_text(
        f"import pathlib\npathlib.Path({str(mark)!r}).touch()\nclass C: pass\n"
    )
    classes = ["AutoConfig", "AutoModel", "AutoModelForCausalLM"]
    auto_map = dict.fromkeys(classes, "owned.C") | {"AutoTokenizer": ["owned.C", "owned.C"]}
    edit(model_dir / name, auto_map=auto_map)
    if kind == "stranger":
        edit(model_dir / "config.json", model_type="stranger", architectures=["C"])
    outcome = sample_of(model_dir)
    assert outcome.code == (0 if kind == "gpt2" else 2)
    assert not mark.exists()


def test_a_chat_template_is_not_rendered(model_dir, tmp_path):
    mark = "{{ cycler.__init__.__globals__.os.system('touch MARK') }}{% for i in range(10**9) %}x"
    mark = mark.replace("MARK", str(tmp_path / "mark"))
    (model_dir / "chat_template.jinja").write_text(mark)
    edit(model_dir / "tokenizer_config.json", chat_template=mark)
    assert sample_of(model_dir).code == 0
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_link_out_of_a_model_folder_is_refused(name, model_dir, tmp_path):
    (model_dir / name).rename(tmp_path / name)
    (model_dir / name).symlink_to(tmp_path / name)
    assert "copy the file" in refused("sample", model_dir, got="leads out of the folder")
    # The same within the folder is fine.
    (model_dir / name).unlink()
    (model_dir / "files").mkdir()
    (tmp_path / name).rename(model_dir / "files" / name)
    (model_dir / name).symlink_to(Path("files", name))
    assert sample_of(model_dir).code == 0


def test_a_snapshot_of_the_hubs_cache_may_link_to_its_blobs_only(model_dir, tmp_path):
    repository = tmp_path / "cache" / "models--tiny"
    snapshot = repository / "snapshots" / "0123"
    (repository / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, path in enumerate(model_dir.iterdir()):
        path.rename(repository / "blobs" / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    assert sample_of(snapshot).code == 0
    (snapshot / "vocab.json").symlink_to(tmp_path / "elsewhere.json")
    (tmp_path / "elsewhere.json").write_text("{}")
    refused("sample", snapshot, got="leads out of the folder")


@pytest.mark.parametrize("name", ["../../x.safetensors", "/etc/hostname", "a\0b", 5])
def test_an_index_may_name_only_files_of_its_folder(name, model_dir, tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path.parent / "x.safetensors")
    index = {"metadata": {}, "weight_map": {"transformer.wte.weight": name}}
    (model_dir / "model.safetensors.index.json").write_text(json.dumps(index))
    refused("sample", model_dir, got="weight_map" if name == 5 else "leads out of the folder")


def test_a_tokenizer_may_name_only_files_of_its_folder(model_dir, tmp_path):
    shutil.copy(model_dir / "tokenizer.json", tmp_path / "tokenizer.0.1.json")
    edit(model_dir / "tokenizer_config.json", fast_tokenizer_files=["../tokenizer.0.1.json"])
    refused("sample", model_dir, got="leads out of the folder")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_file_of_a_model_that_is_no_json_is_refused(name, model_dir):
    contents = [b"", b"\0" * 99, b"\xff\xfe", b"[" * 200_000, b"[1]", b'{"a": NaN', b"null", b'"x"']
    for content in contents:
        (model_dir / name).write_bytes(content)
        refused("sample", model_dir, got=f"model {model_dir}")
    (model_dir / name).unlink()
    os.mkfifo(model_dir / name)
    refused("sample", model_dir, got=f"model {model_dir}")


@pytest.mark.parametrize(
    "values",
    [
        {"n_head": 0},
        {"n_embd": -1},
        {"n_layer": "many"},
        {"vocab_size": 10**30},
        {"vocab_size": 3},
        {"activation_function": "\x1b[31m"},
        {"model_type": "\x1b[31m"},
        {"model_type": "t5"},
        {"model_type": ["a"]},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
        {"quantization_config": "x"},
        {"dtype": "\x1b[31m"},
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_its_weights_is_refused(values, model_dir):
    edit(model_dir / "config.json", **values)
    refused("sample", model_dir, got=f"model {model_dir}")


def test_weights_that_are_missing_or_damaged_are_refused(model_dir):
    from safetensors.torch import load_file

    path = model_dir / "model.safetensors"
    tensors = load_file(path)
    tensors.pop("transformer.h.1.mlp.c_fc.weight")
    save_file(tensors, path, metadata={"format": "pt"})
    refused("sample", model_dir, got="transformer.h.1.mlp.c_fc.weight")
    for content in (b"", b"\xff" * 100, (2**62).to_bytes(8, "little") + b"{}"):
        path.write_bytes(content)
        refused("sample", model_dir, got=f"model {model_dir}")


# --- 4. corpora ------------------------------------------------------------------------------


def refuse_corpus(model, corpus, got):
    return refused("eval", model, "--corpus", f"text:{corpus}", "--context", 64, got=got)


def score(model, corpus, *more):
    return quiet(
        "eval", model, "--corpus", f"text:{corpus}", "--context", 64, "--tokens", 64, *more
    )


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"zero \0 bytes \0\0\0 in between " * 9, None),
        (
            "\u202eright to left\u202c \u2066embedded\u2069 \u05e9\u05dc\u05d5\u05dd ".encode() * 9,
            None,
        ),
        (b"\xef\xbb\xbfa byte order mark", None),
        (b"\x1b[31mred \x1b]0;title\x07", None),
        (b"<|endoftext|><|endoftext|>" * 9, None),
        (b"x", None),
        (b"lone \xed\xa0\x80 surrogate", "byte 5 is not UTF-8"),
        ("text in UTF-16".encode("utf-16"), "byte 0 is not UTF-8"),
        (bytes(range(256)), "byte 128 is not UTF-8"),
        (b"", "an empty file"),
        (b" \n\t\n", "an empty file"),
    ],
    ids=lambda value: repr(value)[:16],
)
def test_a_corpus_is_used_or_refused(content, got, gpt2_dir, tmp_path):
    path = tmp_path / "text\x1b[31m\u202e.txt"
    path.write_bytes(content)
    if got:
        refuse_corpus(gpt2_dir, path, got)
        return
    outcome = score(gpt2_dir, path, "--json")
    assert outcome.code == 0, outcome
    assert json.loads(outcome.out, parse_constant=pytest.fail)["corpora"][0]["tokens"] == len(
        content
    )
    assert score(gpt2_dir, path).code == 0


@pytest.mark.timeout(60)
def test_a_corpus_is_made_of_regular_files_in_its_folder(gpt2_dir, tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "loop").symlink_to("loop")
    for path, got in [
        (tmp_path / "pipe.txt", "a pipe, a socket or a device"),
        ("/dev/zero", "a pipe, a socket or a device"),
        (tmp_path / "loop", "symbolic links"),
        (tmp_path, "a pipe, a socket or a device"),
        ("x" * 5000, "File name too long"),
        ("a\0b", "null byte"),
        (tmp_path / "none", "No such file"),
        (tmp_path / "pipe.txt" / "below", "Not a directory"),
    ]:
        refuse_corpus(gpt2_dir, path, got)
    (tmp_path / "pipe.txt").unlink()
    texts = tmp_path / "texts"
    (texts / "sub").mkdir(parents=True)
    (texts / "sub" / "a.txt").write_text(PROSE)
    (texts / "link.txt").symlink_to("sub/a.txt")
    (texts / "up").symlink_to("..")
    assert score(gpt2_dir, texts).code == 0
    (tmp_path / "secret").write_text(PROSE)
    (texts / "b.txt").symlink_to(tmp_path / "secret")
    refuse_corpus(gpt2_dir, texts, "leads out of the folder")


def test_a_run_refuses_a_hostile_corpus_before_it_creates_anything(gpt2_dir, tmp_path):
    wrong = sets([f"model={gpt2_dir}", "evaluation.corpora=text:/dev/zero"])
    refused("run", "quickstart", "--out", tmp_path / "r", *wrong, got="/dev/zero")
    refused("run", "quickstart", "--out", "x" * 5000, *sets([f"model={gpt2_dir}"]), got="too long")
    refused("sample", "/" + "x" * 5000, got="no such folder")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def word_model(tmp_path_factory):
    """A tiny model with a trained BPE tokenizer, as real models have: several bytes per token."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator([PROSE * 50], trainer)
    tokenizer = FastTokenizer(tokenizer_object=core, bos_token="<s>", eos_token="<s>")
    return save_model(tokenizer, tmp_path_factory.mktemp("words") / "model")


def save_model(tokenizer, place):
    torch.manual_seed(0)
    sizes = {"n_positions": 128, "n_embd": 32, "n_layer": 1, "n_head": 2}
    start = tokenizer.convert_tokens_to_ids("<s>")
    special = {"bos_token_id": start, "eos_token_id": start}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes, **special)).save_pretrained(
        place
    )
    tokenizer.save_pretrained(place)
    return place


PEAK = (
    "import resource, sys\n"
    "from collapse_lm.cli.main import main\n"
    "try: main()\n"
    "finally: print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", ["words", "one word"])
def test_a_line_without_end_takes_time_and_memory_in_proportion(
    kind, word_model, gpt2_dir, tmp_path
):
    """In a process of its own, whose peak is known. Where it does not fit, it is refused."""
    model, word = (gpt2_dir, "a") if kind == "one word" else (word_model, PROSE.replace("\n", " "))
    size = LINE if kind == "words" or IS_FULL else LINE // 5  # each letter of one word is a token
    path = tmp_path / "line.txt"
    path.write_text((word * (size // len(word) + 1))[:size])
    arguments = ["eval", model, "--corpus", f"text:{path}", "--context", "64", "--tokens", "64"]
    begin = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        timeout=60 + size * 15e-6,
        check=False,
    )
    peak = int(re.search(r"peak (\d+)", process.stderr)[1]) * 1024
    print(f"{kind}: {size:,} bytes, {time.perf_counter() - begin:.1f} s, {peak / 1e9:.2f} GB")
    if process.returncode == 2:
        assert "GB while they are read" in process.stderr
        assert IS_FULL
        return
    assert process.returncode == 0, process.stderr
    tokens = json.loads(process.stdout)["corpora"][0]["tokens"]
    print(f"{tokens:,} tokens")
    assert peak < 0.7e9 + 250 * (tokens + size)


def test_a_text_too_large_for_the_memory_is_refused(gpt2_dir, tmp_path, monkeypatch):
    import psutil

    path = tmp_path / "line.txt"
    path.write_text("a" * 1_200_000)
    free = psutil.virtual_memory()._replace(available=100_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    got = "about 1,200,000 tokens, which need 0.6 GB"
    refuse_corpus(gpt2_dir, path, got)


# --- 6. what a model writes, and what things are called ----------------------------------------


@pytest.fixture(scope="module")
def hostile_model(tmp_path_factory):
    """A model in whose vocabulary is nothing but escapes and markup, with a name to match."""
    words = [*ESCAPES, *MARKUP, "<s>", "x"]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="x"))
    core.decoder = decoders.Fuse()
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = FastTokenizer(tokenizer_object=core, bos_token="<s>", eos_token="<s>")
    name = "<script>alert(1)<\u2044script>\x1b[31m"
    return save_model(tokenizer, tmp_path_factory.mktemp("hostile") / name)


@pytest.fixture(scope="module")
def hostile_settings(hostile_model, tmp_path_factory):
    text = tmp_path_factory.mktemp("corpus") / "\x1b[31mtext\u202e.txt"
    text.write_text("x x x x")
    return sets(
        [
            f"model={hostile_model}",
            "precision=float32",
            f'evaluation.corpora=["{"text:" + str(text)}"]'.encode("unicode_escape").decode(),
            "evaluation.context=8",
            "sampling.max_new_tokens=60",
            "run.max_updates=2",
        ]
    )


def unfenced(page):
    """Lines of a Markdown page outside of fences."""
    fence, rest = None, []
    for line in page.split("\n"):
        if fence is None and (opened := re.match(r"`{3,}", line)):
            fence = opened.group()
        elif fence is not None:
            fence = None if re.fullmatch(rf"{fence}`* *", line) else fence
        else:
            rest.append(line)
    assert fence is None
    return "\n".join(rest)


def test_what_a_model_writes_stays_text(hostile_model, hostile_settings, tmp_path):
    said = quiet("sample", hostile_model, "--set", "sampling.max_new_tokens=60")
    assert said.code == 0
    assert "\\x1b]0;owned\\x07" in said.out
    out = tmp_path / "run\x1b[2J\u202e"
    shown = quiet("run", "quickstart", "--out", out, *hostile_settings)
    assert shown.code == 0, shown
    assert "run\\x1b[2J\\u202e" in shown.out
    page = (out / "samples.md").read_text()
    assert plain(page)
    assert "<script>" in page
    outside = re.sub(r"`[^`\n]*`", "", unfenced(page))
    assert not any(word.strip() in outside for word in MARKUP)
    listed = quiet("ls", tmp_path)
    assert "\\x1b[2J" in listed.out
    assert quiet("ls", tmp_path, "--json").code == 0
    assert quiet("resume", out, "--set", "run.max_updates=3").code == 0


def test_names_in_a_figure_are_plain_text(hostile_settings, tmp_path):
    assert quiet("run", "quickstart", "--out", tmp_path / "r", *hostile_settings).code == 0
    svg = (tmp_path / "r" / "figures" / "losses.svg").read_text()
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()}
    assert "script" not in tags
    assert plain(svg.replace("\t", " "))
    assert "alert(1)" in svg


def test_the_live_panel_shows_no_escape_of_a_model(hostile_settings, tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    shown = call("run", "quickstart", "--out", tmp_path / "r", *hostile_settings)
    assert shown.code == 0
    assert "\x1b[" in shown.out  # the panel's own
    # A carriage return is the panel's own too: it draws itself anew.
    assert not any(escape in shown.out for escape in ESCAPES if escape != "\r")
    assert "\\x1b" in shown.out


def test_errors_and_notices_name_hostile_things_in_plain_text(tmp_path):
    name = "<b>\x1b[31m\u202e\x9b"
    for words in (
        ("sample", tmp_path / name),
        ("run", tmp_path / name),
        ("run", "quickstart", "--out", tmp_path, "--set", f"model={name}", "--set", f"{name}=1"),
        ("eval", "./" + name, "--corpus", f"text:{name}"),
        ("resume", tmp_path / name),
        ("ls", tmp_path / name),
        ("config", name),
        (name,),
        ("sample", f"--{name}"),
        ("sample", "x", "--update", name),
    ):
        assert quiet(*words).code == 2


def test_a_notice_of_a_library_is_made_plain(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["collapse-lm", "--version"])
    factory = logging.getLogRecordFactory()
    with pytest.raises(SystemExit):
        main()
    try:
        record = logging.getLogRecordFactory()("n", 30, "p", 1, "a %s", ("\x1b[31m",), None)
    finally:
        logging.setLogRecordFactory(factory)
    assert record.getMessage() == "a \\x1b[31m"


def test_a_terminal_that_lacks_a_character_gets_an_escape():
    words = sets(["sampling.prompt=caf\xe9 \u2026"])
    done = subprocess.run(
        [sys.executable, "-m", "collapse_lm", "config", "show", "quickstart", *words],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert b"caf\\xe9 \\u2026" in done.stdout
