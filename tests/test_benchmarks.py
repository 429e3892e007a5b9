"""The contenders of the benchmarks still run, and yield what their tables read."""

import sys
from pathlib import Path

import pytest

from collapse_lm.config import load_config

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from contenders import CONTENDERS


@pytest.mark.parametrize("name", CONTENDERS)
def test_a_contender_yields_the_seconds_of_every_update(name, tiny_overrides):
    words = [*tiny_overrides, "run.max_updates=2", "sampling.max_new_tokens=110"]
    if "reference" in name:
        words += ["sampling.context=sliding", "training.window=100", "sampling.top_k=50"]
    base, *updates = CONTENDERS[name](load_config("quickstart", words))
    assert base["evaluate"] > 0
    assert len(updates) == 2
    for update in updates:
        assert min(update[phase] for phase in ("sample", "train", "evaluate")) > 0
        assert update["tokens"] == 110
        assert update["passes"] > 0
