"""Presets, overrides and messages of the configuration."""

import json
import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from collapse_lm.config import Config, load_config, preset_names, to_yaml
from collapse_lm.config.json_schema import json_schema
from collapse_lm.config.keys import dotted_keys, help_of
from collapse_lm.errors import UserError


def test_the_presets_exist():
    own = {"paper", "paper-full-context", "quickstart", "reference-code"}
    others = {"gerstgrasser-2024", "shumailov-2024", "ssd-paper", "ssd-trl"}
    assert set(preset_names()) == own | others


@pytest.mark.parametrize("name", preset_names())
def test_a_resolved_preset_loads_again_as_it_is(name, tmp_path):
    config = load_config(name)
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load_config(path) == config


def test_paper_preset_is_table_2():
    config = load_config("paper")
    assert config.model == "gpt2"
    assert (config.sampling.temperature, config.sampling.top_k) == (0.8, 500)
    assert (config.sampling.max_new_tokens, config.sampling.block_size) == (200, 100)
    assert (config.sampling.prompt, config.sampling.batch_size) == ("", 1)
    assert (config.training.optimizer.kind, config.training.grad_clip) == ("adamw", 1.0)
    assert config.training.optimizer.betas == (0.9, 0.95)
    assert config.evaluation.corpora == ("wikitext2", "ptb")


def test_paper_full_context_differs_only_in_context():
    paper, full = load_config("paper").model_dump(), load_config("paper-full-context").model_dump()
    assert full["sampling"].pop("context") == "full"
    assert full["training"].pop("window") is None
    paper["sampling"].pop("context")
    paper["training"].pop("window")
    assert full == paper


def test_reference_code_preset_is_the_published_code():
    config = load_config("reference-code")
    assert (config.seed, config.training.learning_rate) == (1337, 4e-5)
    assert (config.sampling.temperature, config.sampling.top_k) == (1.0, 200)
    assert (config.sampling.max_new_tokens, config.sampling.prompt) == (1024, "\n")
    assert config.training.retokenize
    assert not config.collapse.stop


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("training.learning_rate=3e-4", ("training", "learning_rate"), 3e-4),
        ("training.learning_rate=1", ("training", "learning_rate"), 1.0),
        ("sampling.top_k=null", ("sampling", "top_k"), None),
        ("sampling.prompt=no", ("sampling", "prompt"), "no"),
        ("sampling.prompt= a # b ", ("sampling", "prompt"), " a # b "),
        ("sampling.speculation=off", ("sampling", "speculation"), "off"),
        ("sampling.speculation=3", ("sampling", "speculation"), 3),
        ("sampling.prompt=a=b", ("sampling", "prompt"), "a=b"),
        ('sampling.prompt="\\n"', ("sampling", "prompt"), "\n"),
        ("model=123", ("model",), "123"),
        ("evaluation.corpora=ptb", ("evaluation", "corpora"), ("ptb",)),
        ("evaluation.corpora=[ptb, text:/a b]", ("evaluation", "corpora"), ("ptb", "text:/a b")),
        ("training.optimizer.betas=[0.5, 0.6]", ("training", "optimizer", "betas"), (0.5, 0.6)),
        ("training.betas=[0.5, 0.6]", ("training", "optimizer", "betas"), (0.5, 0.6)),
        ("training.optimizer={kind: sgd, momentum: 0}", ("training", "optimizer", "kind"), "sgd"),
        ("observers=[]", ("observers",), ()),
        ("run.max_minutes=3", ("run", "max_minutes"), 3.0),
        ("collapse.stop=false", ("collapse", "stop"), False),
    ],
)
def test_overrides_are_typed(override, path, value):
    config = load_config("quickstart", [override])
    for part in path:
        config = getattr(config, part)
    assert config == value
    assert type(config) is type(value)


def test_a_key_of_earlier_versions_is_written_where_it_is_now(tmp_path):
    (tmp_path / "old.yaml").write_text("training: {betas: [0.5, 0.6], grad_clip: 2}")
    config = load_config(tmp_path / "old.yaml")
    assert (config.training.optimizer.betas, config.training.grad_clip) == ((0.5, 0.6), 2.0)
    assert "betas" not in yaml.safe_load(to_yaml(config))["training"]


def test_the_last_override_of_a_key_wins():
    assert load_config("quickstart", ["seed=1", "seed=2"]).seed == 2


def problems_of(reference, overrides=()):
    with pytest.raises(UserError) as caught:
        load_config(reference, overrides)
    return {problem.where: problem for problem in caught.value.problems}


def test_all_mistakes_are_reported_at_once():
    found = problems_of("paper", ["sampling.topk=5", "seed=-1", "training.learning_rate=fast"])
    assert set(found) == {"sampling.topk", "seed", "training.learning_rate"}
    assert found["sampling.topk"].fix == "did you mean sampling.top_k?"
    assert found["seed"].got == "-1"
    assert "valid number" in found["training.learning_rate"].expected


def test_rules_between_keys_are_reported_beside_other_mistakes():
    wrong = ["training.window=900", "evaluation.stride=900", "sampling.top_k=0", "modl=x"]
    found = problems_of("quickstart", wrong)
    assert set(found) == {"training.window", "evaluation.stride", "sampling.top_k", "modl"}
    assert found["training.window"].expected == "at most sampling.max_new_tokens (200)"


def test_one_key_gives_one_problem():
    (problem,) = problems_of("quickstart", ["sampling.speculation=fast"]).values()
    assert problem.where == "sampling.speculation"


def test_a_file_extends_one_beside_it(tmp_path, monkeypatch):
    (tmp_path / "base.yaml").write_text("seed: 7")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml")
    monkeypatch.chdir("/")
    assert load_config(tmp_path / "mine.yaml").seed == 7


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("training.learning_rte=1", "training.learning_rate"),
        ("learning_rate=1", "training.learning_rate"),
        ("sampling.max_new_token=1", "sampling.max_new_tokens"),
        ("evaluation.corpus=sotu", "evaluation.corpora"),
        ("training.lr=1", "training.learning_rate"),
        ("lr=1", "training.learning_rate"),
        ("sampling.temp=1", "sampling.temperature"),
        ("batch=1", "sampling.batch_size"),
        ("training.batch_size=1", "sampling.batch_size"),
        ("training.wd=0", "training.weight_decay"),
    ],
)
def test_an_unknown_key_suggests_the_right_one(wrong, right):
    (problem,) = problems_of("quickstart", [wrong]).values()
    assert problem.fix == f"did you mean {right}?"


def test_no_key_is_suggested_where_none_is_close():
    told = "`collapse-lm config schema` lists all keys"
    (problem,) = problems_of("quickstart", ["training.xyz=1"]).values()
    assert problem.fix == told


def test_an_unknown_preset_suggests_the_right_one():
    assert problems_of("quikstart")["preset or YAML file"].fix == "did you mean quickstart?"


@pytest.mark.parametrize(
    "override",
    [
        "training.window=201",
        "evaluation.stride=513",
        "sampling.temperature=-1",
        "sampling.top_p=0",
        "sampling.top_p=1.1",
        "training.learning_rate=.nan",
        "training.learning_rate=inf",
        "sampling.context=half",
        "evaluation.corpora=[]",
        "run.max_updates=-1",
        "collapse.patience=0",
        "training.betas=[1.5, 0.9]",
        "training.optimizer.kind=adam",
        "training.optimizer={kind: sgd, momentum: 1}",
        "training.optimizer={kind: sgd, betas: [0.9, 0.9]}",
        "source.kind=nobody",
        "measures=[{kind: overlap, n: 0}]",
        "probe.every=0",
        "run.max_minutes=0",
        "seed=[1",
        "seed.deep=1",
        "sampling=3",
        "seed=true",
        "training.learning_rate=no",
        "run.max_updates=yes",
        "sampling.speculation=on",
        "sampling.speculation=0",
        "=3",
        "seed",
    ],
)
def test_values_out_of_range_are_refused(override):
    assert problems_of("quickstart", [override])


@pytest.mark.parametrize(
    "text", ["[1, 2]", "seed: [", "a: &a [*a]", "!!python/object/apply:os.getcwd []", "extends: 3"]
)
def test_bad_yaml_files_are_refused(text, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    assert problems_of(path)


def test_files_that_extend_each_other_are_refused(tmp_path):
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"extends: {other}.yaml")
    assert "extends" in problems_of(tmp_path / "a.yaml")


def test_a_file_is_a_diff_over_what_it_extends(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: paper\ntraining: {learning_rate: 3e-4}\n")
    config = load_config(path)
    assert config.training.learning_rate == 3e-4
    assert config.training.window == load_config("paper").training.window


def test_every_key_has_a_description():
    keys = dotted_keys()
    assert {"training.optimizer.betas", "training.optimizer.momentum", "probe.every"} <= set(keys)
    places = ("source", "objective", "training.optimizer", "measures", "observers")
    chosen = {f"{place}.kind" for place in places}
    assert chosen <= set(keys)
    assert [key for key in keys if not help_of(key) and not key.endswith(".kind")] == []


def test_the_schema_describes_every_key_of_every_kind():
    schema = json_schema()
    sections = [
        part
        for section in (schema, *schema["$defs"].values())
        for part in section.get("oneOf", [section])
    ]
    fields = {
        (section.get("title"), key): field
        for section in sections
        for key, field in section["properties"].items()
        if key != "kind"
    }
    assert {("Sgd", "momentum"), ("Overlap", "n"), ("Config", "seed")} <= fields.keys()
    assert [
        name for name, field in fields.items() if not {"description", "$ref"} & set(field)
    ] == []
    json.dumps(schema)


@given(st.text(max_size=40))
def test_any_override_gives_a_config_or_a_user_error(text):
    try:
        config = load_config("quickstart", [text])
    except UserError:
        return
    assert yaml.safe_load(to_yaml(config))


@given(st.sampled_from(dotted_keys()), st.text(max_size=20))
def test_any_value_of_a_known_key_gives_a_config_or_a_user_error(key, value):
    try:
        config = load_config("quickstart", [f"{key}={value}"])
    except UserError:
        return
    assert isinstance(config, Config)


LIGHT = [
    *("config", "config.json_schema", "measures", "measures.rule", "measures.text", "rundir"),
    *("rundir.resume", "experiment.batch", "observers.base", "observers.display", "analysis"),
    *("analysis.outcomes", "analysis.frames", "report.losses", "report.reproduction"),
    *("_util.printable", "cli.main"),
]


def test_light_modules_do_not_import_torch():
    code = (
        "import sys; from importlib import import_module\n"
        f"for name in {LIGHT}:\n"
        "    import_module(f'collapse_lm.{name}')\n"
        "    if 'torch' in sys.modules: sys.exit(name)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
