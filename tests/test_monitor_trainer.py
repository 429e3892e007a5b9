"""The monitor as a callback of transformers' Trainer: what it adds, and what it leaves alone."""

import gc
import importlib.util
import logging
import sys
import weakref
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerCallback

from collapse_lm.analysis import run_table
from collapse_lm.cli.tables import runs_table
from collapse_lm.errors import UserError
from collapse_lm.monitor import CollapseMonitor, Finding
from collapse_lm.monitor.alerts import Alerts
from collapse_lm.monitor.trainers import handler_of, move_before_loggers, trainer_of
from collapse_lm.rundir import RunReader

from conftest import tiny_gpt2, tiny_llama
from trained import QUICK, ours, own, tokenizer, train, windows

pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers, accelerate and tensorboard


class Heard(TrainerCallback):
    """A logger that stands in the place of a tracker, and notes what it is called with."""

    def __init__(self):
        self.logs, self.events = [], []

    def on_log(self, args, state, control, logs=None, **others):
        self.logs.append(dict(logs))

    def on_train_begin(self, args, state, control, **others):
        self.events.append("on_train_begin")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same training without a monitor and with one, with accumulation and evaluations."""
    folder = tmp_path_factory.mktemp("both")
    settings = {
        "gradient_accumulation_steps": 2,
        "eval_strategy": "steps",
        "eval_steps": 3,
        "eval_on_start": True,
    }
    before = train(folder / "without", **settings)
    monitor = CollapseMonitor(every=3, out=folder / "record", seed=2, **QUICK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENSORBOARD_LOGGING_DIR", str(folder / "board"))
        after = train(folder / "with", monitor, report_to=["tensorboard"], **settings)
    return SimpleNamespace(
        without=before.state.log_history,
        with_it=after.state.log_history,
        weights=[trainer.model.state_dict() for trainer in (before, after)],
        monitor=monitor,
        board=folder / "board",
        record=folder / "record",
    )


def test_the_training_is_the_same_bit_by_bit_and_so_is_all_that_the_trainer_logs(both):
    assert own(both.with_it) == own(both.without)
    without, with_it = both.weights
    assert all(torch.equal(with_it[name], value) for name, value in without.items())


def test_numbers_stand_in_the_history_once_at_the_next_log_of_the_training(both):
    found = ours(both.with_it)
    probed = [step for step, added in found.items() if "collapse/state/loop" in added]
    assert probed == [1, 3, 6]  # the baseline, and the probes at 3 and 6
    assert (
        found[3]["collapse/probe.entropy"]
        == both.monitor.monitor.latest.get("collapse/probe.entropy")
        or found[3]["collapse/probe.entropy"] != found[6]["collapse/probe.entropy"]
    )
    assert found[2] == found[4] == found[5] == {}
    assert all(
        not name.startswith("collapse/")
        for entry in both.with_it
        for name in entry
        if "eval_loss" in entry
    )


def test_numbers_stand_in_a_tracker_that_stands_before_the_callback(both):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(both.board))
    board.Reload()
    told = {event.step: event.value for event in board.Scalars("train/collapse/probe.entropy")}
    found = ours(both.with_it)
    named = {s: found[s].get("collapse/probe.entropy") for s in found}
    assert {3, 6} <= {*told}
    assert told == pytest.approx({s: v for s, v in named.items() if v is not None}, rel=1e-6)
    assert len(board.Scalars("train/loss")) == 6


def test_the_record_has_the_baseline_the_probes_and_what_the_trainer_logged(both):
    rows = {row.update: row.values for row in RunReader(both.record).updates()}
    assert list(rows) == list(range(7))
    losses = {entry["step"]: entry["loss"] for entry in both.without if "loss" in entry}
    assert {step: rows[step]["train.loss"] for step in losses} == losses
    assert [step for step in rows if "text.loop_share" in rows[step]] == [0, 3, 6]
    assert "base_samples.entropy" in rows[0]
    assert RunReader(both.record).manifest()["status"] == "finished"


def test_a_model_that_collapses_ends_the_training(tmp_path, caplog):
    same = windows("a" * 60)
    monitor = CollapseMonitor(every=2, on_collapse="stop", out=tmp_path / "record", **QUICK)
    trainer = train(tmp_path / "t", monitor, Heard(), data=same, learning_rate=1e-2, max_steps=60)
    step = trainer.state.global_step
    assert step == 4  # the second probe in a row that shows it
    last = trainer.state.log_history[-1]
    assert own([last])[0]["step"] == step
    assert ours(trainer.state.log_history)[step]["collapse/state/mode"] == 1
    told = "the training ends here, at step 4: there is no healthy model"
    assert [r.message for r in caplog.records if r.message.startswith("the training")] == [told]
    assert monitor.monitor.healthy_path is None
    reader = RunReader(tmp_path / "record")
    assert reader.summary()["endings"]["mode"]["entered"] == 2  # the first probe of the streak
    assert reader.summary()["probes"] == 2
    assert reader.manifest()["states"]["mode"] == 2
    listed = runs_table(run_table(tmp_path))
    assert "mode 2" in str(listed)


def test_what_fails_in_the_monitor_is_told_once_and_the_training_goes_on(tmp_path, caplog):
    def burst(finding):
        raise RuntimeError("the caller's own")

    without = train(tmp_path / "a", data=windows("a" * 60), learning_rate=1e-2, max_steps=20)
    monitor = CollapseMonitor(every=2, on_collapse=burst, out=tmp_path / "record", **QUICK)
    with caplog.at_level(logging.WARNING, "collapse_lm.monitor"):
        with_it = train(
            tmp_path / "b", monitor, data=windows("a" * 60), learning_rate=1e-2, max_steps=20
        )
    assert own(with_it.state.log_history) == own(without.state.log_history)
    told = [record.getMessage() for record in caplog.records if "switched off" in record.msg]
    assert len(told) == 1
    assert "RuntimeError: the caller's own" in told[0]
    assert RunReader(tmp_path / "record").manifest()["status"] == "failed"


def test_a_model_that_the_monitor_cannot_read_is_refused_before_the_first_step(tmp_path):
    monitor = CollapseMonitor(out=tmp_path / "r", **{**QUICK, "max_new_tokens": 1000})
    with pytest.raises(UserError, match="max_new_tokens"):
        train(tmp_path / "t", monitor)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"budget": 2}, "budget"),
        ({"on_collapse": lambda: None}, "a function of one argument, the finding"),
        ({"rule": {"patiense": 3}}, r"one of .*loop_share[\s\S]*did you mean patience\?"),
        ({"tokenizer": "gpt2"}, r"a str, 'gpt2'[\s\S]*AutoTokenizer.from_pretrained\('gpt2'\)"),
        ({"tokenizer": torch.nn.Linear(1, 1)}, r"a Linear[\s\S]*a tokenizer of transformers"),
    ],
)
def test_what_does_not_fit_is_refused_at_once(settings, told):
    with pytest.raises(UserError, match=told):
        CollapseMonitor(**settings)


def test_a_training_that_goes_on_is_told_and_a_second_one_has_a_record_of_its_own(tmp_path, caplog):
    monitor = CollapseMonitor(every=2, out=tmp_path / "record", **QUICK)
    train(tmp_path / "t", monitor, max_steps=2, save_strategy="steps", save_steps=2)
    with caplog.at_level(logging.WARNING, "collapse_lm.monitor"):
        train(tmp_path / "t", monitor, max_steps=4, resume=str(tmp_path / "t" / "checkpoint-2"))
    assert "baseline is the model of step 2" in caplog.text
    assert monitor.path == tmp_path / "record-2"
    assert [row.update for row in RunReader(monitor.path).updates()] == [0, 3, 4]
    assert RunReader(tmp_path / "record").manifest()["status"] == "finished"


def test_a_training_that_is_resumed_by_a_new_process_has_a_record_beside_the_first(tmp_path):
    out = tmp_path / "record"
    first = CollapseMonitor(every=2, out=out, **QUICK)
    train(tmp_path / "t", first, max_steps=2, save_strategy="steps", save_steps=2)
    for number in (2, 3):
        again = CollapseMonitor(every=2, out=out, **QUICK)
        train(tmp_path / "t", again, max_steps=4, resume=str(tmp_path / "t" / "checkpoint-2"))
        assert again.path == tmp_path / f"record-{number}"
    with pytest.raises(UserError, match="a place that is in use"):
        train(tmp_path / "u", CollapseMonitor(out=out, **QUICK), max_steps=2)


def adapted():
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    return get_peft_model(tiny_llama(), LoraConfig(r=2, task_type="CAUSAL_LM"))


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (tiny_gpt2, {"bf16": True}),
        (tiny_llama, {"gradient_checkpointing": True}),
        (adapted, {"bf16": True, "gradient_accumulation_steps": 2}),
    ],
    ids=["bf16", "gradient checkpointing", "adapters"],
)
def test_the_training_is_the_same_in_other_settings(make, settings, tmp_path):
    if make is adapted and importlib.util.find_spec("peft") is None:
        pytest.skip("peft is not installed")
    settings = {"max_steps": 3, **settings}
    without = train(tmp_path / "a", model=make().train(), **settings)
    monitor = CollapseMonitor(every=1, out=tmp_path / "record", **{**QUICK, "keep_healthy": True})
    with_it = train(tmp_path / "b", monitor, model=make().train(), **settings)
    assert own(with_it.state.log_history) == own(without.state.log_history)
    assert RunReader(monitor.path).manifest()["status"] == "finished"
    assert "probe.entropy" in RunReader(monitor.path).updates()[-1].values
    (healthy,) = (monitor.path / "healthy").iterdir()
    names = {path.name for path in healthy.iterdir()}
    assert ("adapter_model.safetensors" in names) == (make is adapted)


def test_a_logger_that_stands_before_it_sees_the_numbers_and_misses_no_turn(tmp_path):
    heard = Heard()
    monitor = CollapseMonitor(every=1, out=tmp_path / "record", **QUICK)
    train(tmp_path / "t", heard, monitor, max_steps=2)
    assert heard.events == ["on_train_begin"]
    assert "collapse/probe.entropy" in heard.logs[0]


class Walks:
    """Calls callbacks as transformers' handler does."""

    def __init__(self, callbacks):
        self.callbacks = callbacks

    def call(self, trainer=None):
        for callback in self.callbacks:
            callback.turn()


class Turn(TrainerCallback):
    def __init__(self, name, turns):
        self.name, self.turns = name, turns

    def turn(self):
        self.turns.append(self.name)


class Reader(Turn):
    def on_log(self, args, state, control, **others):
        pass


class Mover(Turn):
    def turn(self):
        super().turn()
        self.found = handler_of(self)
        self.trainer = trainer_of(self.found)
        move_before_loggers(self.found, self)


class Trains:
    def __init__(self, handler):
        self.callback_handler = handler

    def train(self):
        self.callback_handler.call()


@pytest.mark.parametrize("place", range(4))
def test_moving_before_the_loggers_makes_nobody_miss_a_turn(place):
    turns = []
    others = [Turn("flow", turns), Reader("board", turns), Reader("printer", turns)]
    mover = Mover("monitor", turns)
    others.insert(place, mover)
    names = [other.name for other in others]
    trainer = Trains(Walks(others))
    trainer.train()
    assert turns == names
    assert mover.found is trainer.callback_handler
    assert mover.trainer is trainer
    order = [other.name for other in trainer.callback_handler.callbacks]
    assert order.index("monitor") < order.index("board") < order.index("printer")


def test_without_a_handler_in_sight_the_history_and_the_record_tell_all(tmp_path, caplog):
    monitor = CollapseMonitor(tokenizer(), every=1, out=tmp_path / "record", **QUICK)
    args = SimpleNamespace(process_index=0, world_size=1, report_to=[])
    state = SimpleNamespace(global_step=0, log_history=[])
    control, model = SimpleNamespace(should_training_stop=False), tiny_gpt2()
    with caplog.at_level(logging.WARNING, "collapse_lm.monitor"):
        monitor.on_train_begin(args, state, control, model=model)
    assert "loggers are not found" in caplog.text
    monitor.on_step_begin(args, state, control)
    state.global_step = 1
    monitor.on_step_end(args, state, control, model=model)
    logs = {"loss": 1.5}
    state.log_history.append({**logs, "step": 1})
    monitor.on_log(args, state, control, logs=logs)
    monitor.on_train_end(args, state, control)
    assert state.log_history[0]["collapse/probe.entropy"] == logs["collapse/probe.entropy"]
    assert RunReader(tmp_path / "record").updates()[-1].values["train.loss"] == 1.5


def test_weights_in_pieces_have_no_probes_and_that_is_said(tmp_path, caplog):
    model = tiny_gpt2().train()
    next(model.parameters()).ds_id = 0  # as DeepSpeed marks them
    monitor = CollapseMonitor(every=1, out=tmp_path / "record", **QUICK)
    with caplog.at_level(logging.WARNING, "collapse_lm.monitor"):
        trainer = train(tmp_path / "t", monitor, model=model, max_steps=2)
    assert "no probes: the weights lie in pieces (DeepSpeed ZeRO-3)" in caplog.text
    assert ours(trainer.state.log_history)[2] == {}


def test_a_trainer_is_not_kept_alive(tmp_path):
    monitor = CollapseMonitor(every=5, out=tmp_path / "record", **QUICK)
    trainer = train(tmp_path / "t", monitor, max_steps=1)
    assert monitor._trainer() is trainer
    seen = weakref.ref(trainer)
    del trainer
    gc.collect()
    assert seen() is None


class Trackers:
    """What trackio and wandb offer, as modules that note alerts."""

    class AlertLevel:
        WARN, ERROR = "warn", "error"

    def __init__(self, *, fails=False):
        self.alerts, self.fails, self.run = [], fails, self

    def alert(self, title, text, level):
        if self.fails:
            raise RuntimeError("no network")
        self.alerts.append((title, text, level))


def finding(stream, *entered, **more):
    return Finding(9, stream, entered=dict.fromkeys(entered, 7), message="words", **more)


def test_an_alert_goes_to_each_tracker_once_for_each_state(monkeypatch, caplog):
    trackio, wandb = Trackers(), Trackers()
    monkeypatch.setitem(sys.modules, "trackio", trackio)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    alerts = Alerts()
    for entered in ((), ("drift",), ("drift", "loop"), ("loop",)):
        alerts.take(finding("probe", *entered))
    alerts.take(finding("rollouts", "loop"))
    alerts.take(finding("probe", "loop", broken_at_start=True))
    alerts.send(["trackio", "wandb"])
    alerts.send(["trackio", "wandb"])
    titles = [
        *("collapse: drift (probe)", "collapse: loop (probe)", "collapse: loop (rollouts)"),
        "collapse: broken at the start (probe)",
    ]
    assert [alert[0] for alert in trackio.alerts] == titles
    assert [alert[2] for alert in trackio.alerts] == ["warn", "error", "error", "error"]
    assert [alert[0] for alert in wandb.alerts] == titles
    assert [alert[2] for alert in wandb.alerts] == ["WARN", "ERROR", "ERROR", "ERROR"]


def test_a_tracker_that_is_not_reported_to_or_fails_takes_no_alert(monkeypatch, caplog):
    trackio, wandb = Trackers(fails=True), Trackers()
    monkeypatch.setitem(sys.modules, "trackio", trackio)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    alerts = Alerts()
    alerts.take(finding("probe", "noise"))
    alerts.send(["trackio"])
    assert wandb.alerts == []
    assert "trackio took no alert: RuntimeError: no network" in caplog.text
