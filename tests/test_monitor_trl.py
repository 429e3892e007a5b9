"""The monitor in the trainers of TRL: as the real package has them, on tiny models."""

import math
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch

from collapse_lm.monitor import CollapseMonitor
from collapse_lm.monitor.rewards import Reward, spoken
from collapse_lm.monitor.trainers import Buffer, Rollouts
from collapse_lm.rundir import RunReader

from conftest import PROSE, tiny_gpt2
from trained import QUICK, ours, own, tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")  # of trl, transformers and accelerate
needs_trl = pytest.mark.skipif(find_spec("trl") is None, reason="trl is not installed")
SETTINGS = {
    "per_device_train_batch_size": 2,
    "max_steps": 4,
    "logging_steps": 1,
    "learning_rate": 1e-3,
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "save_strategy": "no",
    "disable_tqdm": True,
    "seed": 1,
}


def words(completions, **columns):
    """A reward of the caller's own."""
    return [float(len(completion)) for completion in completions]


def prompts():
    from datasets import Dataset

    return Dataset.from_dict({"prompt": PROSE.split()[:8], "privileged_context": ["x"] * 8})


def sft(folder, *callbacks, **changes):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    texts = Dataset.from_dict({"text": [PROSE[start : start + 60] for start in range(0, 90, 10)]})
    settings = {**SETTINGS, "max_length": 48, "gradient_accumulation_steps": 2, **changes}
    return SFTTrainer(
        tiny_gpt2().train(),
        SFTConfig(str(folder), **settings),
        train_dataset=texts,
        eval_dataset=texts.select(range(2)),
        processing_class=tokenizer(),
        callbacks=list(callbacks),
    )


def online(names, model, folder, *callbacks, rewards=None, evaluated=None, **changes):
    """A trainer that samples what it trains on, and has the same arguments as its siblings."""
    place, kind = names
    module = __import__(place, fromlist=[kind])
    settings = {
        **SETTINGS,
        "num_generations": 2,
        "per_device_train_batch_size": 4,
        "max_completion_length": 12,
        **changes,
    }
    more = {} if rewards is None else {"reward_funcs": rewards}
    return getattr(module, f"{kind}Trainer")(
        model=str(model),
        args=getattr(module, f"{kind}Config")(str(folder), **settings),
        train_dataset=prompts(),
        processing_class=tokenizer(),
        eval_dataset=evaluated,
        callbacks=list(callbacks),
        **more,
    )


GRPO = ("trl", "GRPO")


def through(trainer):
    torch.manual_seed(0)
    trainer.train()
    return trainer


@needs_trl
def test_supervised_training_is_the_same_bit_by_bit_with_the_numbers_beside_its_own(tmp_path):
    evaluated = {"eval_strategy": "steps", "eval_steps": 2}
    without = through(sft(tmp_path / "a", **evaluated))
    monitor = CollapseMonitor(every=2, out=tmp_path / "record", **QUICK)
    with_it = through(sft(tmp_path / "b", monitor, **evaluated))
    assert own(with_it.state.log_history) == own(without.state.log_history)
    found = ours(with_it.state.log_history)
    assert [step for step in found if "collapse/text.loop_share" in found[step]] == [1, 2, 4]
    beside = [e for e in with_it.state.log_history if "collapse/text.loop_share" in e]
    assert all({"entropy", "mean_token_accuracy", "loss"} <= {*entry} for entry in beside)


@needs_trl
def test_a_model_that_is_given_as_a_path(gpt2_dir, tmp_path):
    monitor = CollapseMonitor(every=2, out=tmp_path / "record", **QUICK)
    through(online(GRPO, gpt2_dir, tmp_path / "t", monitor, rewards=[words], max_steps=2))
    assert RunReader(tmp_path / "record").manifest()["model"]["reference"] == gpt2_dir.name
    assert "rollouts.length" in RunReader(tmp_path / "record").updates()[-1].values


@pytest.fixture(scope="module")
def grpo(tmp_path_factory, gpt2_dir):
    """GRPO without a monitor, and with one as callback and as a reward of weight zero."""
    folder = tmp_path_factory.mktemp("grpo")
    settings = {
        "gradient_accumulation_steps": 2,
        "log_completions": True,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "per_device_eval_batch_size": 2,
    }
    monitor = CollapseMonitor(every=2, out=folder / "record", **QUICK)

    def trained(*callbacks, name, **rewards):
        given = {"evaluated": prompts().select(range(2)), **settings, **rewards}
        return through(online(GRPO, gpt2_dir, folder / name, *callbacks, **given))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        patch.setenv("TENSORBOARD_LOGGING_DIR", str(folder / "board"))
        without = trained(name="without", rewards=[words], reward_weights=[1.0])
        rewards = [words, monitor.as_reward()]
        weights = {"rewards": rewards, "reward_weights": [1.0, 0.0]}
        with_it = trained(monitor, name="with", report_to=["tensorboard"], **weights)
    rows = RunReader(folder / "record").updates()
    return SimpleNamespace(without=without, with_it=with_it, rows=rows, folder=folder)


@needs_trl
def test_grpo_trains_the_same_bit_by_bit(grpo):
    def alike(history):
        return [{n: v for n, v in e.items() if "collapse_monitor" not in n} for e in own(history)]

    assert alike(grpo.with_it.state.log_history) == own(grpo.without.state.log_history)
    zeros = [
        e["rewards/collapse_monitor/mean"] for e in grpo.with_it.state.log_history if "kl" in e
    ]
    assert not any(zeros)


@needs_trl
def test_the_rollouts_of_grpo_are_those_that_it_logs_itself(grpo):
    logged = {
        e["step"]: e for e in grpo.with_it.state.log_history if "completions/mean_length" in e
    }
    assert {*logged} == {1, 2, 3, 4}
    for row in grpo.rows[1:]:
        entry = logged[row.update]
        assert row.get("rollouts.length") == pytest.approx(entry["completions/mean_length"])
        assert row.get("rollouts.clipped") == pytest.approx(entry["completions/clipped_ratio"])
        assert row.get("rollouts.count") == 8
        assert entry["collapse/rollouts.length"] == row.get("rollouts.length")
        assert row.get("train.objective") == entry["loss"]  # which is no loss of the texts
        assert "train.loss" not in row.values


@needs_trl
def test_the_numbers_stand_in_the_tracker_of_grpo_beside_its_own(grpo):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(grpo.folder / "board"))
    board.Reload()
    history = grpo.with_it.state.log_history
    for name in ("collapse/rollouts.length", "collapse/text.loop_share", "entropy"):
        told = {event.step: event.value for event in board.Scalars(f"train/{name}")}
        kept = {entry["step"]: entry[name] for entry in history if name in entry}
        assert told == pytest.approx(kept, rel=1e-6)
        assert told


@needs_trl
def test_its_table_of_completions_is_written_as_before(grpo):
    import pandas

    (first, *_), (table, *_) = (
        sorted((grpo.folder / name / "completions").iterdir()) for name in ("without", "with")
    )
    before, after = pandas.read_parquet(first), pandas.read_parquet(table)
    assert [*before["completion"]] == [*after["completion"]]
    assert {*after.columns} - {*before.columns} == {"collapse_monitor"}


@needs_trl
@pytest.mark.parametrize(
    ("names", "settings", "sampled"),
    [
        (("trl", "RLOO"), {"rewards": [words]}, {1, 2}),
        (("trl", "GRPO"), {"rewards": [words], "num_iterations": 2, "max_steps": 4}, {1, 3}),
        (("trl.experimental.sdft", "SDFT"), {}, {1, 2}),
    ],
    ids=["RLOO", "GRPO that uses samples twice", "self-distillation"],
)
def test_rollouts_are_found_where_no_reward_function_shows_them(
    names, settings, sampled, gpt2_dir, tmp_path
):
    pytest.importorskip(names[0])
    monitor = CollapseMonitor(every=9, out=tmp_path / "record", **QUICK)
    given = {"max_steps": 2, **settings}
    trainer = through(online(names, gpt2_dir, tmp_path / "t", monitor, **given))
    rows = RunReader(tmp_path / "record").updates()
    found = {row.update: row for row in rows if "rollouts.length" in row.values}
    logged = [e for e in trainer.state.log_history if "completions/mean_length" in e]
    assert {*found} == {entry["step"] for entry in logged} == sampled
    for entry in logged:
        row = found[entry["step"]]
        assert row.get("rollouts.length") == pytest.approx(entry["completions/mean_length"])
        if names[1] == "GRPO":  # keeps the log-probabilities of what it uses twice
            assert 3 < row.get("rollouts.loss") < 8


def held(*batches, **more):
    return SimpleNamespace(_buffered_inputs=[{"completion_ids": b} for b in batches], **more)


def test_a_buffer_is_read_once_and_its_padding_is_left_out():
    end, pad = 9, 0
    one = torch.tensor([[5, 6, end, pad], [5, 6, 7, 8]])
    two = torch.tensor([[5, end, end, end], [end, pad, pad, pad]])
    trainer, buffer = held(one, two), Buffer()
    seen = buffer.new(trainer, {end, pad})
    assert seen.texts == [[5, 6, end], [5, 6, 7, 8], [5, end], [end]]
    assert seen.clipped == [False, True, False, False]
    assert seen.log_probs is None
    assert buffer.new(trainer, {end, pad}) is None
    trainer._buffered_inputs = held(two)._buffered_inputs
    assert len(buffer.new(trainer, {end}).texts) == 2


def test_log_probabilities_count_where_they_are_those_of_the_model_itself():
    ids, told = torch.tensor([[5, 9, 0]]), torch.tensor([[-1.0, -2.0, 0.0]])
    for temperature, kept in ((1.0, [[-1.0, -2.0]]), (0.7, None)):
        trainer = held(ids, temperature=temperature)
        trainer._buffered_inputs[0]["old_per_token_logps"] = told
        assert Buffer().new(trainer, {9, 0}).log_probs == kept


@pytest.mark.parametrize(
    "trainer", [None, SimpleNamespace(), held(), SimpleNamespace(_buffered_inputs=[3])]
)
def test_a_trainer_without_such_a_buffer_has_no_rollouts(trainer):
    assert Buffer().new(trainer, {9}) is None


def test_a_reward_is_zero_and_shows_ids_or_the_words_of_a_conversation():
    shown = []
    reward = Reward(lambda make: shown.append(make()), lambda: {9})
    assert reward.__name__ == "collapse_monitor"
    assert reward(prompts=["p", "p"], completions=["a", "b"], completion_ids=[[1, 9], [2, 3]]) == [
        0,
        0,
    ]
    talk = [{"role": "assistant", "content": "one"}, {"role": "tool", "content": None}]
    parts = [{"role": "assistant", "content": [{"type": "text", "text": "two"}]}]
    assert reward(completions=[talk, parts], trainer_state=None, log_metric=print) == [0, 0]
    assert shown[0] == Rollouts([[1, 9], [2, 3]], [False, True])
    assert shown[1] == Rollouts(["one", "two"])
    assert spoken("plain") == "plain"


def test_rollouts_of_several_calls_are_one(tmp_path):
    both = Rollouts([[1]], [True], [[-1.0]]) + Rollouts([[2]], [False], [[-2.0]])
    assert both == Rollouts([[1], [2]], [True, False], [[-1.0], [-2.0]])
    assert (both + Rollouts(["a"])).clipped is None
    assert Rollouts() + both == both


def begun(monitor, model=None):
    """Hooks called by hand, as a trainer of another package might."""
    args = SimpleNamespace(process_index=0, report_to=[])
    state, control = SimpleNamespace(global_step=0, log_history=[]), SimpleNamespace()
    model = model or tiny_gpt2()
    monitor.on_train_begin(args, state, control, model=model)

    def step(*calls, between=()):
        monitor.on_step_begin(args, state, control)
        for call in calls:
            call()
        state.global_step += 1
        monitor.on_step_end(args, state, control, model=model)
        for call in between:
            call()

    return step, lambda: monitor.on_train_end(args, state, control)


def test_what_a_step_shows_in_several_calls_is_one_row_and_evaluations_are_none(tmp_path):
    monitor = CollapseMonitor(tokenizer(), every=99, out=tmp_path / "record", **QUICK)
    reward = monitor.as_reward()
    step, end = begun(monitor)

    def sample(*texts):
        return lambda: reward(completion_ids=list(texts), completions=["x"] * len(texts))

    step(sample([1, 2, 256]), sample([3, 4, 5], [6]), between=[sample([7] * 9)])
    step(between=[sample([7] * 9)])
    step(sample([8, 9]))
    end()
    rows = {row.update: row for row in RunReader(tmp_path / "record").updates()}
    assert {*rows} == {0, 1, 3}
    assert rows[1].get("rollouts.count") == 3
    assert rows[1].get("rollouts.length") == pytest.approx(7 / 3)
    assert rows[1].get("rollouts.clipped") == pytest.approx(2 / 3)
    assert rows[3].get("rollouts.length") == 2
    assert math.isnan(rows[3].get("rollouts.loss"))


def test_of_weights_in_pieces_the_samples_of_the_trainer_are_watched(tmp_path):
    model = tiny_gpt2()
    next(model.parameters()).ds_id = 0  # as DeepSpeed marks them
    monitor = CollapseMonitor(tokenizer(), every=1, out=tmp_path / "record", **QUICK)
    step, end = begun(monitor, model)
    reward = monitor.as_reward()
    for _ in range(3):
        step(lambda: reward(completions=["x"], completion_ids=[[7] * 20]))
    end()
    rows = RunReader(tmp_path / "record").updates()
    assert [row.update for row in rows if "rollouts.loop_share" in row.values] == [1, 2, 3]
    assert not any("text.loop_share" in row.values for row in rows)


def test_samples_that_cannot_be_read_switch_the_monitor_off_and_the_reward_is_zero(
    tmp_path, caplog
):
    monitor = CollapseMonitor(tokenizer(), every=99, out=tmp_path / "record", **QUICK)
    reward, rewards = monitor.as_reward(), []
    step, end = begun(monitor)
    broken = {"completions": ["a"], "completion_ids": [["no number"]]}
    step(lambda: rewards.extend(reward(**broken)), lambda: rewards.extend(reward(**broken)))
    end()
    assert rewards == [0, 0]
    assert caplog.text.count("switched off") == 1
    assert "the samples of a step: ValueError" in caplog.text


def test_a_reward_whose_monitor_is_no_callback_says_so_once(caplog):
    reward = CollapseMonitor(tokenizer(), **QUICK).as_reward()
    assert reward(completions=["a"], completion_ids=[[1]]) == [0]
    reward(completions=["a"], completion_ids=[[1]])
    assert caplog.text.count("not among the callbacks") == 1
