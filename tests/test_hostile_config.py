"""Hostile configurations and YAML: used or refused, without a traceback."""

import os
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collapse_lm.config import load_config
from collapse_lm.config.load import dotted_keys

from hostile import EXAMPLES, IS_FULL, quiet, refused, sets

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
