"""Parts by name: kinds of ours, and of a separate package that is installed beside us.

The package is tests/plugin; `make test` installs it.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import collapse_lm
from collapse_lm.config import AnySource, OptimizerConfig, identity, load_config
from collapse_lm.config.json_schema import json_schema
from collapse_lm.config.parts import OPTIMIZERS, SOURCES
from collapse_lm.errors import UserError
from collapse_lm.experiment.facts import add
from collapse_lm.rundir import RunReader

from commands import call, settings

PLUGIN = "collapse-lm-plugin"
OF_THE_PLUGIN = [
    f"objective.kind={PLUGIN}:anchor",
    "objective.rate=0.5",
    f"measures=[{{kind: {PLUGIN}:vocabulary, every: 2}}, overlap]",
    f"observers=[pictures, {PLUGIN}:tally]",
]


def plugin_source(prose_file):
    return [f"source.kind={PLUGIN}:stream", f"source.path={prose_file}", "source.tokens=25"]


def numbers(path):
    rows = RunReader(path).updates()
    timed = ("seconds.",)
    return [{k: v for k, v in row.values.items() if not k.startswith(timed)} for row in rows]


@pytest.fixture(scope="module")
def config(tiny_overrides, prose_file):
    words = [*tiny_overrides, *plugin_source(prose_file), *OF_THE_PLUGIN]
    return load_config("quickstart", [*words, "training.steps_per_update=2", "probe.every=2"])


@pytest.fixture(scope="module")
def unbroken(config, tmp_path_factory):
    return collapse_lm.run(config, tmp_path_factory.mktemp("parts") / "run").directory


def test_parts_of_another_package_do_their_work(unbroken):
    rows = RunReader(unbroken).updates()
    assert [row.get("stream.place") for row in rows[1:4]] == [26, 53, 78]
    seen = [row.update for row in rows if "vocabulary.seen" in row.values]
    assert seen == [0, 2, 4, 6]
    assert rows[6].get("vocabulary.seen") > rows[2].get("vocabulary.seen") > 0
    lines = (unbroken / "tally.txt").read_text().splitlines()
    assert len(lines) == 8
    assert lines[-1] == "censored: reached run.max_updates"


def test_three_updates_and_three_more_are_six_bit_for_bit(config, unbroken, tmp_path):
    half = config.model_copy(update={"run": config.run.model_copy(update={"max_updates": 3})})
    collapse_lm.run(half, tmp_path / "run", overrides=["run.checkpoint_every=3"])
    collapse_lm.resume(tmp_path / "run", overrides=["run.max_updates=6"])
    assert numbers(tmp_path / "run")[:3] == numbers(unbroken)[:3]
    assert numbers(tmp_path / "run")[4:] == numbers(unbroken)[4:]
    samples = [RunReader(path).samples() for path in (tmp_path / "run", unbroken)]
    assert samples[0] == samples[1]


def test_the_objective_moves_the_model_otherwise_and_the_train_loss_stays_plain(
    config, unbroken, tmp_path
):
    plain = config.model_dump(mode="json") | {"objective": {"kind": "nll"}}
    other = collapse_lm.run(collapse_lm.Config.model_validate(plain), tmp_path / "run").directory
    ours, theirs = numbers(unbroken), numbers(other)
    assert ours[1]["train.loss"] == theirs[1]["train.loss"]
    assert ours[2]["train.loss"] != theirs[2]["train.loss"]


def test_a_source_that_is_not_own_is_judged_by_a_probe_drawn_apart(unbroken):
    samples, rows = RunReader(unbroken).samples(), RunReader(unbroken).updates()
    assert [bool(row.probe) for row in samples] == [False, True] * 3
    assert {text.origin for row in samples for text in row.texts} == {"corpus:stream"}
    assert {text.origin for row in samples for text in row.probe} == {"own"}
    judged = [row for row in rows if "text.loop_share" in row.values]
    assert [row.update for row in judged] == [2, 4, 6]
    for row, sample in zip(judged, samples[1::2], strict=True):
        mean = sum(sample.probe[0].log_probs) / len(sample.probe[0].ids)
        assert row.get("probe.loss") == pytest.approx(-mean, abs=1e-3)
        assert row.get("probe.forward_passes") > 0


def test_parts_are_named_in_yaml_and_on_the_command_line(tiny_overrides, prose_file, tmp_path):
    tree = {
        "extends": "quickstart",
        "source": {"kind": f"{PLUGIN}:stream", "path": str(prose_file)},
        "observers": f"{PLUGIN}:tally",
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tree))
    words = [*tiny_overrides, "run.max_updates=1", "source.tokens=12"]
    done = call("run", tmp_path / "mine.yaml", "--out", tmp_path / "r", *settings(words))
    assert done.returncode == 0, done.stderr
    assert len(RunReader(tmp_path / "r").samples()[0].texts[0].ids) == 12
    assert sorted(item.name for item in (tmp_path / "r").iterdir() if item.name[0] != ".") == [
        *("config.yaml", "manifest.json", "report.html", "samples.jsonl", "summary.json"),
        *("tally.txt", "updates.jsonl"),
    ]


def test_every_kind_is_listed_with_its_package():
    listed = json.loads(call("parts", "--json").stdout)
    kinds = {(row["part"], row["kind"]) for row in listed}
    assert {("source", "own"), ("source", f"{PLUGIN}:stream")} <= kinds
    assert {("optimizer", "sgd"), ("measure", f"{PLUGIN}:vocabulary")} <= kinds
    assert all(row["told"] for row in listed)
    assert f"{PLUGIN}:anchor" in call("parts").stdout


def test_the_schema_holds_every_kind():
    schema = json_schema()
    kinds = {one["properties"]["kind"]["const"] for one in schema["$defs"]["SourceConfig"]["oneOf"]}
    assert {"own", f"{PLUGIN}:stream"} <= kinds


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["source.tokens=0"], {"source.tokens": ("0", "greater than or equal to 1")}),
        (["source.tokns=3"], {"source.tokns": ("an unknown key", "did you mean source.tokens?")}),
        (
            ["source.tokens=x", "measures=[{kind: overlap, n: 0}]", "seed=-1"],
            {"source.tokens": ("'x'",), "measures.0.n": ("0",), "seed": ("-1",)},
        ),
    ],
)
def test_wrong_fields_of_a_part_are_told_like_our_own(words, told, prose_file):
    with pytest.raises(UserError) as caught:
        load_config("quickstart", [*plugin_source(prose_file), *words])
    found = {problem.where: str(problem) for problem in caught.value.problems}
    assert found.keys() == told.keys()
    assert all(word in found[where] for where, words in told.items() for word in words)


def test_a_missing_field_of_a_part_is_told():
    with pytest.raises(UserError, match=r"source\.path") as caught:
        load_config("quickstart", [f"source.kind={PLUGIN}:stream"])
    assert "UTF-8 file." in str(caught.value)


def test_a_kind_that_there_is_not_is_told_with_those_that_there_are():
    with pytest.raises(UserError) as caught:
        load_config("quickstart", ["source.kind=collapse-lm-plugin:streem", "source.path=a"])
    (problem,) = caught.value.problems
    assert problem.where == "source.kind"
    assert problem.expected.startswith("one of own, frozen, ")
    assert f", {PLUGIN}:stream" in problem.expected
    assert problem.fix == f"did you mean {PLUGIN}:stream?"


def test_another_kind_takes_over_no_setting_of_the_former(tmp_path):
    (tmp_path / "base.yaml").write_text("training: {optimizer: {kind: sgd, momentum: 0.5}}")
    config = load_config(tmp_path / "base.yaml", ["training.optimizer.kind=adamw"])
    assert config.training.optimizer.betas == (0.9, 0.95)


@pytest.mark.parametrize("optimizer", ["{kind: sgd, momentum: 0.9}", "{kind: sgd}", "adamw"])
def test_a_run_with_any_optimizer_resumes_bit_for_bit(optimizer, tiny_overrides, tmp_path):
    words = [*tiny_overrides, f"training.optimizer={optimizer}", "run.checkpoint_every=2"]
    whole = collapse_lm.run("quickstart", tmp_path / "whole", overrides=[*words])
    short = [*words, "run.max_updates=4"]
    collapse_lm.run("quickstart", tmp_path / "r", overrides=short)
    collapse_lm.resume(tmp_path / "r", overrides=["run.max_updates=6"])
    assert numbers(tmp_path / "r") == numbers(whole.directory)


def test_an_observer_that_raises_changes_no_row(config, unbroken, tmp_path, caplog):
    failing = [f"observers=[{{kind: {PLUGIN}:tally, fail_at: 3}}]"]
    run = collapse_lm.run(config, tmp_path / "run", overrides=failing)
    assert numbers(run.directory) == numbers(unbroken)
    assert (run.directory / "samples.jsonl").read_bytes() == (
        unbroken / "samples.jsonl"
    ).read_bytes()
    told = [record.message for record in caplog.records if "switched off" in record.message]
    assert len(told) == 1
    assert "told to fail" in told[0]
    assert len((run.directory / "tally.txt").read_text().splitlines()) == 3


def test_the_example_source_runs_as_written(tiny_overrides, prose_file, tmp_path):
    from examples.real_text import main

    result = main(str(prose_file), "quickstart", *tiny_overrides, out=tmp_path / "r")
    rows, samples = RunReader(tmp_path / "r").updates(), RunReader(tmp_path / "r").samples()
    learned = [token for row in samples for token in row.texts[0].ids]
    assert bytes(prose_file.read_text()[: len(learned)], "utf-8").decode() == "".join(
        row.texts[0].text for row in samples
    )
    assert rows[6].get(f"validation.loss[text:{prose_file}]") < 5.5
    assert not result.summary["collapsed"]


# --- parts that are less well behaved ---------------------------------------------------------


@pytest.mark.parametrize("cut", [2, 3, 5])
def test_what_a_measure_remembers_does_not_depend_on_where_a_run_was_cut(
    cut, tiny_overrides, tmp_path
):
    words = [*tiny_overrides, "measures=[{kind: overlap, n: 1, every: 2}]"]
    whole = collapse_lm.run("quickstart", tmp_path / "whole", overrides=words)
    short = [*words, f"run.max_updates={cut}", f"run.checkpoint_every={cut}"]
    collapse_lm.run("quickstart", tmp_path / "r", overrides=short)
    collapse_lm.resume(tmp_path / "r", overrides=["run.max_updates=6"])
    runs = [numbers(path) for path in (tmp_path / "r", whole.directory)]
    found = [[row.get("overlap[1]") for row in rows] for rows in runs]
    assert found[0] == found[1]
    assert [update for update, value in enumerate(found[1]) if value is not None] == [4, 6]


def test_a_run_whose_observer_is_gone_is_resumed_without_it_and_analysed(tiny_overrides, tmp_path):
    from collapse_lm.analysis.outcomes import measure_runs

    words = [*tiny_overrides, "run.max_updates=3", "run.checkpoint_every=3"]
    collapse_lm.run("quickstart", tmp_path / "r", overrides=words)
    path = tmp_path / "r" / "config.yaml"
    path.write_text(path.read_text().replace("kind: pictures", "kind: gone:tracker"))
    found, left_out = measure_runs([RunReader(tmp_path / "r")])
    assert (len(found), left_out) == (1, [])
    with pytest.raises(UserError, match=r"observers\.0\.kind"):
        collapse_lm.resume(tmp_path / "r", overrides=["run.max_updates=4"])
    longer = ["run.max_updates=4", "observers=[]"]
    assert collapse_lm.resume(tmp_path / "r", overrides=longer).summary["updates"] == 4


def test_an_observer_that_cannot_be_built_is_left_out(tiny_overrides, tmp_path, caplog):
    class NoServer(collapse_lm.ObserverConfig):
        kind: str = "no-server"

        def build(self):
            raise RuntimeError("no server")

    config = load_config("quickstart", [*tiny_overrides, "run.max_updates=1"])
    config = config.model_copy(update={"observers": (NoServer(),)})
    assert collapse_lm.run(config, tmp_path / "r").summary["updates"] == 1
    assert "no-server is switched off: RuntimeError: no server" in caplog.text


def test_an_observer_hears_the_end_of_a_run_that_was_interrupted(tiny_overrides, tmp_path):
    heard = []

    class Listener:
        def start(self, run):
            heard.append("start")

        def update(self, record):
            heard.append(record.update)
            if record.update == 2:
                raise KeyboardInterrupt

        def end(self, summary):
            heard.append(summary["status"])

    with pytest.raises(KeyboardInterrupt):
        collapse_lm.run(
            "quickstart", tmp_path / "r", overrides=tiny_overrides, observers=[Listener()]
        )
    assert heard == ["start", 0, 1, 2, "interrupted"]


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ({"mine.flag": True}, {"mine.flag": 1}),
        ({"mine.tensor": torch.tensor(0.5)}, {"mine.tensor": 0.5}),
        ({"mine.numpy": np.float32(0.25)}, {"mine.numpy": 0.25}),
        ({"train.loss": 99.0}, "the name 'train.loss'"),
        ({"update": 3}, "the name 'update'"),
        ({"validation": 3}, "the name 'validation'"),
        ({"mine.word": "high"}, "mine.word = 'high'"),
        ({"mine.none": None}, "mine.none = None"),
    ],
)
def test_what_a_part_tells_is_a_number_under_a_name_of_its_own(told, wanted):
    values = {"train.loss": 1.0}
    if isinstance(wanted, str):
        with pytest.raises(UserError, match="numbers of source") as caught:
            add(values, told, "source")
        assert wanted in str(caught.value)
    else:
        add(values, told, "source")
        assert values == {"train.loss": 1.0, **wanted}
        assert all(type(value) in (int, float) for value in values.values())


def test_settings_of_a_part_named_by_its_kind_alone(tmp_path):
    (tmp_path / "c.yaml").write_text("training: {optimizer: sgd}")
    config = load_config(tmp_path / "c.yaml", ["training.optimizer.momentum=0.9"])
    assert config.training.optimizer.momentum == 0.9
    words = ["training.optimizer=sgd", "training.optimizer.momentum=0.5"]
    assert load_config("quickstart", words).training.optimizer.momentum == 0.5


@pytest.mark.parametrize("former", ["betas: [0.5, 0.9]", "optimizer: {betas: [0.5, 0.9]}"])
def test_settings_of_the_default_kind_are_no_settings_of_another(former, tmp_path):
    (tmp_path / "c.yaml").write_text(f"training: {{{former}}}")
    assert load_config(tmp_path / "c.yaml").training.optimizer.betas == (0.5, 0.9)
    config = load_config(tmp_path / "c.yaml", ["training.optimizer.kind=sgd"])
    assert config.training.optimizer.kind == "sgd"


def test_text_of_a_part_is_taken_as_typed_at_the_first_call():
    code = (
        "from collapse_lm.config import load_config; "
        f"c = load_config('quickstart', ['source.kind={PLUGIN}:stream', 'source.path=on']); "
        "print(repr(c.source.path))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "'on'", done.stderr


class Halving(torch.optim.SGD):
    """Halves its rate with each step, as a schedule within an optimizer does."""

    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            group["lr"] /= 2


class HalvingConfig(OptimizerConfig):
    kind: str = "halving"

    def build(self, groups, learning_rate):
        return Halving([dict(group) for group in groups], lr=learning_rate)


class AdafactorConfig(OptimizerConfig):
    kind: str = "adafactor"

    def build(self, groups, learning_rate):
        return torch.optim.Adafactor([dict(group) for group in groups], lr=learning_rate)


@pytest.mark.parametrize("rule", [HalvingConfig(), AdafactorConfig()])
def test_any_optimizer_is_saved_with_its_groups_and_memories_of_any_shape(
    rule, tiny_overrides, tmp_path, request
):
    object.__setattr__(OPTIMIZERS, "own", (own := OPTIMIZERS.own) + (type(rule),))
    request.addfinalizer(lambda: object.__setattr__(OPTIMIZERS, "own", own))  # it is frozen
    words = [*tiny_overrides, f"training.optimizer.kind={rule.kind}", "run.checkpoint_every=3"]
    whole = collapse_lm.run("quickstart", tmp_path / "whole", overrides=words)
    collapse_lm.run("quickstart", tmp_path / "r", overrides=[*words, "run.max_updates=3"])
    collapse_lm.resume(tmp_path / "r", overrides=["run.max_updates=6"])
    assert numbers(tmp_path / "r") == numbers(whole.directory)
    rates = [row["train.lr"] for row in numbers(whole.directory)[1:3]]
    assert rates == ([3e-3, 1.5e-3] if rule.kind == "halving" else [3e-3, 3e-3])


def test_the_identity_takes_any_value_that_a_part_has(tmp_path):
    class Odd(collapse_lm.SourceConfig):
        kind: str = "odd"
        path: Path = Path("a")
        names: tuple[str, ...] = ()

        def build(self, context):
            return None

    base = load_config("quickstart")
    made = [base.model_copy(update={"source": Odd(path=Path(name))}) for name in "ab"]
    assert len({identity(config) for config in (base, *made)}) == 3


def test_keys_of_a_part_within_a_part_are_known(request):
    class Wrapper(collapse_lm.SourceConfig):
        kind: str = "wrapper"
        inner: AnySource
        """The source within."""

        def build(self, context):
            return self.inner.build(context)

    object.__setattr__(SOURCES, "own", (own := SOURCES.own) + (Wrapper,))
    request.addfinalizer(lambda: object.__setattr__(SOURCES, "own", own))  # it is frozen
    with pytest.raises(UserError) as caught:
        load_config("quickstart", ["source={kind: wrapper, inner: {kind: wrapper, innr: own}}"])
    told = {problem.where: problem.fix for problem in caught.value.problems}
    assert told["source.inner.innr"] == "did you mean source.inner.inner?"
    nested = ["source.kind=wrapper", "source.inner.kind=wrapper", "source.inner.inner=own"]
    assert load_config("quickstart", nested).source.inner.inner.kind == "own"
