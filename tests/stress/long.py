"""10,000 updates of a tiny model: an update at the end may cost 1.1 times one at the start.

    python tests/stress/long.py [UPDATES]

Prints both medians and their ratio, how long a resume of that run takes, and exits with 1
where the ratio is larger.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

import collapse_lm

from clock import Clock
from conftest import byte_tokenizer, tiny_gpt2

LIMIT = 1.1
torch.set_num_threads(1)


def main(updates: int) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny_gpt2().save_pretrained(folder / "model")
        byte_tokenizer().save_pretrained(folder / "model")
        (folder / "text.txt").write_text("some words of a text that is short\n" * 4)
        words = [
            *(f"model={folder / 'model'}", "precision=float32", "evaluation.context=32"),
            *(f"evaluation.corpora=[text:{folder / 'text.txt'}]", "evaluation.every=50"),
            *("sampling.max_new_tokens=12", "training.learning_rate=1e-6", "collapse.stop=false"),
            *(f"run.max_updates={updates}", "run.checkpoint_every=1000", "observers=[]"),
        ]
        clock = Clock()
        collapse_lm.run("quickstart", folder / "run", overrides=words, observers=[clock])
        early, late = clock.medians(skip=10, count=min(1000, updates // 3))
        begin = time.perf_counter()
        collapse_lm.resume(folder / "run", overrides=[f"run.max_updates={updates + 1}"])
        resumed = time.perf_counter() - begin
    print(f"{updates} updates: at the start {early * 1e3:.3f} ms, at the end {late * 1e3:.3f} ms")
    print(f"ratio {late / early:.3f} (at most {LIMIT}); one more update by resume {resumed:.2f} s")
    return int(late > LIMIT * early)


if __name__ == "__main__":
    sys.exit(main(int((*sys.argv[1:], 10_000)[0])))
