"""Do the golden runs of one network in this process and print what they gave as JSON.

    python tests/golden/record.py gpt2 [--write]

The process must be told which instructions to use before it starts (`PINNED`), so that
every class of processor gives the same numbers; without them it starts itself again.
Weights are uniform numbers from numpy, which are the same everywhere. `--write` puts the
result into this folder: only to be used where a number is meant to change.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PINNED = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
PROSE = (
    "The quick brown fox jumps over the lazy dog while seven clever wizards mix a bowl of "
    "violet potion, and nobody in the village asks why the smoke above the mill has turned "
    "green again this morning.\n"
) * 3
UPDATES = 8
CASES: dict[str, list[str]] = {
    "full": [],
    "sliding": ["sampling.context=sliding", "sampling.block_size=16", "training.window=16"],
    "retokenize": ["training.retokenize=true", "training.window=20"],
    "batch-of-4": ["sampling.batch_size=4"],
    "speculation-8": ["sampling.speculation=8"],
    "speculation-off": ["sampling.speculation=off"],
    "two-steps": [
        "training.steps_per_update=2",
        "sampling.prompt=Once upon",
        "sampling.top_p=0.9",
        "sampling.top_k=null",
        "evaluation.every=3",
    ],
}
# One network of each way through the code: two written out, one behind the generic path.
NETWORKS = ("gpt2", "llama", "gpt_neox")


def settings(network: str) -> list[str]:
    """Overrides of `quickstart` that every golden run of a network has."""
    return [
        f"model=models/{network}",
        "precision=float32",
        "evaluation.corpora=[text:prose.txt]",
        "evaluation.context=64",
        "sampling.max_new_tokens=40",
        "training.learning_rate=1e-2",
        "collapse.patience=2",
        "collapse.stop=false",
        f"run.max_updates={UPDATES}",
    ]


def build(network: str):
    """A tiny network whose weights do not depend on the machine."""
    import numpy as np
    import torch
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        GPTNeoXConfig,
        GPTNeoXForCausalLM,
        LlamaConfig,
        LlamaForCausalLM,
    )

    shared = {"vocab_size": 257, "bos_token_id": 256, "eos_token_id": 256}
    wide = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    wide |= {"num_attention_heads": 4, "max_position_embeddings": 256}
    made = {
        "gpt2": lambda: GPT2LMHeadModel(
            GPT2Config(n_positions=128, n_embd=32, n_layer=2, n_head=2, **shared)
        ),
        "llama": lambda: LlamaForCausalLM(
            LlamaConfig(num_key_value_heads=2, tie_word_embeddings=True, **wide, **shared)
        ),
        "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**wide, **shared)),
    }[network]().eval()
    numbers = np.random.Generator(np.random.PCG64(7))
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.dim() < 2:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            else:
                uniform = numbers.random(tuple(parameter.shape), dtype=np.float32) - 0.5
                parameter.copy_(torch.from_numpy(uniform * np.float32(0.7)))
    return made


def prepare(network: str, folder: Path) -> None:
    """Write the model and the text that the runs name, below a folder."""
    sys.path.insert(0, str(HERE.parent))
    from conftest import byte_tokenizer

    place = folder / "models" / network
    build(network).save_pretrained(place)
    byte_tokenizer().save_pretrained(place)
    (folder / "prose.txt").write_text(PROSE, encoding="utf-8")


def record(network: str) -> dict[str, object]:
    """Do every case of a network in a folder of its own, and one run that is resumed."""
    import collapse_lm
    from collapse_lm.config import load_config

    def config(*more: str):
        return load_config("quickstart", [*settings(network), *more])

    found: dict[str, object] = {}
    for name, changes in CASES.items():
        result = collapse_lm.run(config(*changes), name)
        found[name] = facts(result)
    half = ("run.max_updates=4", "run.checkpoint_every=3")
    collapse_lm.run(config(*half), "resumed")
    found["resumed"] = facts(
        collapse_lm.resume("resumed", overrides=[f"run.max_updates={UPDATES}"])
    )
    return found


def facts(result) -> dict[str, object]:
    """What must not change: tokens, losses to 5 digits, the summary."""
    from collapse_lm.rundir import RunReader

    reader = RunReader(Path(result.directory))
    return {
        "ids": [[list(text.ids) for text in row.texts] for row in reader.samples()],
        "updates": [numbers_of(row) for row in reader.updates()],
        "summary": {
            name: result.summary[name]
            for name in ("status", "collapsed", "collapse_update", "criteria", "reason", "updates")
        },
    }


NAMES = {  # as the first released code called a number: as a row calls it
    "train_loss": "train.loss",
    "grad_norm": "train.grad_norm",
    "entropy": "draw.entropy",
    "validation": "validation.loss[text:prose.txt]",
    "bits_per_byte": "validation.bits_per_byte[text:prose.txt]",
    "loop_share": "text.loop_share",
    "seq_rep_4": "text.seq_rep_4",
    "distinct_2": "text.distinct_2",
    "compression": "text.compression",
    "loop_period": "text.loop_period",
    "forward_passes": "draw.forward_passes",
    "tokens": "train.tokens",
}


def numbers_of(row) -> dict[str, object]:
    """The numbers of a row; what the base model has none of was recorded as null or 0."""
    zero = {"forward_passes": 0, "tokens": 0} if row.update == 0 else {}
    return {old: shortened(row.values.get(new, zero.get(old))) for old, new in NAMES.items()}


def shortened(value: object) -> object:
    """A number to 5 significant digits."""
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main() -> None:
    """Do the runs of one network; start again where the instructions are not pinned."""
    network = sys.argv[1]
    if any(os.environ.get(name) != value for name, value in PINNED.items()):
        done = subprocess.run(
            [sys.executable, *sys.argv], env={**os.environ, **PINNED}, check=False
        )
        sys.exit(done.returncode)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        prepare(network, Path(folder))
        found = record(network)
        os.chdir(HERE)
    text = json.dumps(found, separators=(",", ":"), sort_keys=True)
    if "--write" in sys.argv:
        (HERE / f"{network}.json").write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
