"""What an update and a resume cost does not grow with the length of the run."""

from collections import Counter

import pytest

import collapse_lm
from collapse_lm.config import CollapseRule
from collapse_lm.measures.names import Row
from collapse_lm.measures.rule import Watch, judge
from collapse_lm.rundir import reader as reading
from collapse_lm.rundir.layout import SAMPLES, UPDATES

from clock import CallCounter

TINY = ["sampling.max_new_tokens=5", "evaluation.every=1000", "collapse.stop=false", "observers=[]"]


def test_an_update_late_in_a_run_makes_the_calls_of_an_early_one(tiny_overrides, tmp_path):
    """Its time, with a limit of 1.1 for 10,000 updates, is measured by tests/stress/long.py."""
    counter, length = CallCounter(), ["run.max_updates=400", "training.learning_rate=1e-6"]
    words = [*tiny_overrides, *TINY, *length]
    collapse_lm.run("quickstart", tmp_path / "r", overrides=words, observers=[counter])
    early, late = counter.medians(skip=20, count=100)
    assert early > 1000
    assert late < 1.02 * early  # judging the whole series anew would be a multiple


def test_the_rule_remembers_no_more_than_its_patience():
    rule = CollapseRule(patience=4)
    values = {"text.loop_share": 0.0, "text.seq_rep_4": 0.0, "probe.loss": 1.0}
    degenerate = values | {"text.loop_share": 0.9}
    rows = [Row(u, degenerate if u % 5 else values) for u in range(1, 400)]
    watch = Watch(rule)
    for row in rows[:3]:
        watch.see(row)
    assert watch.streak_start == 1
    sizes = set()
    watch = Watch(CollapseRule(patience=5))
    for row in rows:
        watch.see(row)
        sizes.add(len(watch._streak))
    assert max(sizes) == 4
    assert judge(rows, rule).collapse_update == 1
    assert judge(rows, rule).met == 4


@pytest.mark.parametrize("observers", ["[]", "[pictures]"])
def test_a_resume_reads_each_file_of_rows_at_most_twice(
    observers, tiny_overrides, tmp_path, monkeypatch
):
    words = [*tiny_overrides, "run.max_updates=3", "run.checkpoint_every=1"]
    collapse_lm.run("quickstart", tmp_path / "r", overrides=words)
    reads = Counter()
    read = reading.read_bytes

    def counted(path):
        reads[path.name] += 1
        return read(path)

    monkeypatch.setattr(reading, "read_bytes", counted)
    longer = ["run.max_updates=5", f"observers={observers}"]
    result = collapse_lm.resume(tmp_path / "r", overrides=longer)
    assert result.summary["updates"] == 5
    assert 1 <= reads[UPDATES] <= 2
    assert 1 <= reads[SAMPLES] <= 2
