"""Dose: in every row, by a direct sum; rebuilt at a resume; and an aftermath that counts it."""

import math
from dataclasses import replace

import pytest
from test_loop import ALWAYS, NEVER, new_run
from test_run import Seen as Watcher
from test_run import do

import collapse_lm
from collapse_lm.config import CollapseRule
from collapse_lm.experiment.batch import Batch, Text
from collapse_lm.loop import self_train
from collapse_lm.measures.dose import Dose
from collapse_lm.measures.names import Row
from collapse_lm.measures.seen import Seen
from collapse_lm.rundir import RunReader

RATE = 3e-3  # of the learner of test_loop


def doses(path):
    rows = RunReader(path).updates()
    return [(row.values.get("dose.rate"), row.values.get("dose.square")) for row in rows]


def test_the_dose_is_the_sum_of_the_rates_and_of_their_squares_over_the_texts():
    dose = Dose()
    dose.add(0.1, steps=1, texts=2)
    dose.add(0.2, steps=3, texts=4)
    assert dose.add(5.0, steps=0, texts=4) == {  # withheld
        "dose.rate": pytest.approx(0.1 + 3 * 0.2),
        "dose.square": pytest.approx(0.1**2 / 2 + 3 * 0.2**2 / 4),
    }


def test_every_row_from_1_on_tells_it(tiny_overrides, tmp_path):
    changes = ["sampling.batch_size=2", "training.steps_per_update=3", "run.max_updates=2"]
    changes += ["run.report=false", "observers=[]"]
    base, *rows = doses(do(tiny_overrides, tmp_path / "r", *changes).directory)
    assert base == (None, None)
    assert [rate for rate, _ in rows] == pytest.approx([3 * RATE, 6 * RATE])
    assert [square for _, square in rows] == pytest.approx([1.5 * RATE**2, 3 * RATE**2])


def test_the_dose_of_older_rows_is_added_up_from_rates_and_texts():
    old = [Row(u, {"train.lr": 0.1, "train.steps": 2}) for u in (1, 2)]
    dose = Dose()
    for row in old:
        dose.replay(row, texts=4)
    assert (dose.rate, dose.square) == (pytest.approx(0.4), pytest.approx(4 * 0.01 / 4))
    dose.replay(Row(3, {"train.lr": 0.1, "train.applied": 0}), texts=4)  # format 1, withheld
    assert dose.rate == pytest.approx(0.4)
    unknown = Dose()
    unknown.replay(old[0], texts=0)
    assert unknown.rate == 0.2
    assert math.isnan(unknown.square)


def test_a_recorded_dose_is_taken_over_to_the_last_bit():
    seen, row = Seen(NEVER), Row(1, {"train.lr": 1e-5, "train.steps": 1})
    told = [seen.see(1, row.values, Batch((Text((0,), (1,), "own"),)), Batch())]
    for update in range(2, 40):
        told.append(seen.see(update, row.values, Batch((Text((0,), (1,), "own"),)), Batch()))
    again = Seen(NEVER)
    for update, values in enumerate(told[:17], start=1):
        again.replay(Row(update, {**row.values, **values}))
    for update in range(18, 40):
        batch = Batch((Text((0,), (1,), "own"),))
        assert again.see(update, row.values, batch, Batch()) == told[update - 1]


@pytest.mark.parametrize(
    ("updates", "dose", "last"),
    [
        (0, None, 3),
        (0, 0.0, 3),
        (0, 2 * RATE, 5),  # two more steps, whatever rounding says of their sum
        (0, 2.5 * RATE, 6),
        (4, 2 * RATE, 7),  # the later of the two
        (0, 99.0, 9),
        (None, 2 * RATE, 9),  # a run that is not stopped
    ],
)
def test_the_aftermath_goes_on_until_the_dose_is_given(updates, dose, last):
    changes = {"stop_after_collapse": updates, "aftermath_dose": dose, "max_updates": 9}
    *_, record = self_train(*new_run(rule=ALWAYS, **changes))
    assert record.update == last


def test_a_state_that_goes_on_knows_the_dose_at_which_the_rule_was_met():
    state, experiment = new_run(rule=ALWAYS, aftermath_dose=3 * RATE, max_updates=9)
    seen = Seen(ALWAYS)
    first = list(self_train(state, replace(experiment, max_updates=4), seen))
    again = Seen(ALWAYS)
    for record in first:
        again.replay(record.row, record.batch.texts, record.probe.texts)
    assert [record.update for record in self_train(state, experiment, again)] == [5, 6]


def test_a_run_stopped_in_an_aftermath_of_dose_resumes_to_the_same_end(tiny_overrides, tmp_path):
    changes = ["collapse.train_loss=1e9", "collapse.patience=2", "collapse.aftermath=0"]
    changes += [f"collapse.aftermath_dose={3 * RATE}", "run.max_updates=20"]
    changes += ["run.report=false", "observers=[]"]
    whole = do(tiny_overrides, tmp_path / "whole", *changes)
    assert whole.summary["updates"] == 5
    assert whole.summary["limit"] is None
    watcher = Watcher()
    stop = {"observers": [watcher], "should_stop": lambda: watcher.updates[-1] == 3}
    do(tiny_overrides, tmp_path / "parts", *changes, **stop)
    parts = collapse_lm.resume(tmp_path / "parts")
    assert parts.summary == whole.summary
    assert doses(parts.directory) == doses(whole.directory)
    again = collapse_lm.resume(tmp_path / "parts")  # is over: nothing is done
    assert again.summary == whole.summary


def test_a_rule_knows_no_aftermath():
    assert not {"aftermath", "aftermath_dose", "stop"} & CollapseRule.model_fields.keys()
