"""What the stress scripts share: the tiny model of the tests, and how results are told."""

import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

TESTS = Path(__file__).parent.parent
sys.path.insert(0, str(TESTS))

from test_resume import assert_same_run  # noqa: E402
from test_run import untimed  # noqa: E402

from commands import settings  # noqa: E402
from conftest import PROSE, save, tiny_gpt2  # noqa: E402 - needs the path above

__all__ = ["assert_same_run", "report", "settings", "tiny_words", "untimed"]


def tiny_words(folder: Path, *changes: str) -> list[str]:
    """Save the tiny model and a text; return the arguments that make a run of them."""
    if not (folder / "model").exists():
        save(tiny_gpt2(), folder / "model")
        (folder / "prose.txt").write_text(PROSE * 3, encoding="utf-8")
    overrides = [
        f"model={folder / 'model'}",
        "precision=float32",
        f"evaluation.corpora=[text:{folder / 'prose.txt'}]",
        "evaluation.context=64",
        "sampling.max_new_tokens=40",
        "training.learning_rate=3e-3",
        "run.max_updates=20",
        "run.checkpoint_every=3",
        "collapse.stop=false",  # so that the last checkpoint stays, to compare weights
    ]
    return ["run", "quickstart", *settings([*overrides, *changes])]


def report(name: str, found: dict[str, object]) -> None:
    """Print a result as JSON, dated, with the machine."""
    facts = {"test": name, "date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": platform.processor()}
    print(json.dumps({**facts, **found}, indent=2), flush=True)
