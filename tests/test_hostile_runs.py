"""Hostile run directories: refused unchanged or resumed bit for bit."""

import contextlib
import json
import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from test_run import Seen

from collapse_lm.rundir.layout import CONFIG, MANIFEST, SAMPLES, SUMMARY, UPDATES
from collapse_lm.rundir.session import run

from hostile import (
    DAMAGED,
    quiet,
    refused,
    tree,
)


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
    seen = Seen()
    run(
        "quickstart",
        folder / "interrupted",
        overrides=overrides,
        observers=[seen],
        should_stop=lambda: len(seen.updates) == 4,
    )
    places = sorted(item.name for item in (folder / "interrupted" / "checkpoints").iterdir())
    assert places == ["u000002", "u000003"]
    return folder


def facts(path):
    """The rows of a run without their timings, as far as they can be read."""
    rows = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        row = json.loads(line)
        rows.append({key: v for key, v in row.items() if not key.startswith("seconds.")})
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
        ("precision", "half"),
        ("device_type", "quantum"),
        ("threads", 10**9),
        ("threads", "all"),
        ("format_version", 1),
        ("format_version", 3),
        ("format_version", "2"),
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
    [
        "figures",
        "figures/losses.svg",
        "checkpoints",
        ".model",
        "model",
        "samples.md",
        "report.html",
        ".lock",
    ],
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
    assert rows["dark"] == f"not readable: {CONFIG}: Permission denied"
    assert set(rows) == {"good", "dark"}
