"""Shared fixtures: two tiny models in the hub's layout, with a byte-level tokenizer."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers import PreTrainedTokenizerFast as FastTokenizer

from collapse_lm.report.style import FORMATS

# Threads only get in each other's way on models this small, and pytest-xdist uses the cores.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

END = "<|endoftext|>"


def pytest_terminal_summary(terminalreporter):
    """Count what could not run on this machine, by reason, in the closing lines."""
    skipped = terminalreporter.stats.get("skipped", ())
    reasons = Counter(
        str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        for report in skipped
    )
    terminalreporter.section(f"could not run here: {reasons.total()} tests", "-")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:>5}  {reason.removeprefix('Skipped: ')}")


@pytest.fixture(scope="session", autouse=True)
def figures_in_one_format() -> Iterator[None]:
    """Draw figures as SVG alone: the other formats take half the time of a small run."""
    others = {name: FORMATS.pop(name) for name in ("png", "pdf")}
    yield
    FORMATS.update(others)


@contextmanager
def every_format() -> Iterator[None]:
    """Figures in all formats, for what tests the files."""
    others = {"png": {}, "pdf": {"CreationDate": None}}
    FORMATS.update(others)
    yield
    for name in others:
        del FORMATS[name]


@pytest.fixture
def all_formats() -> Iterator[None]:
    """`every_format`, for one test."""
    with every_format():
        yield


PROSE = (
    "The quick brown fox jumps over the lazy dog while seven clever wizards mix a bowl of "
    "violet potion, and nobody in the village asks why the smoke above the mill has turned "
    "green again this morning.\n"
)


def byte_tokenizer() -> FastTokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: index for index, character in enumerate(alphabet)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return FastTokenizer(tokenizer_object=core, bos_token=END, eos_token=END)


def tiny_gpt2(positions: int = 128) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=257,
        n_positions=positions,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=256,
        eos_token_id=256,
        initializer_range=0.2,
    )
    return GPT2LMHeadModel(config).eval()


def tiny_llama() -> LlamaForCausalLM:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=257,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=256,
        eos_token_id=256,
        pad_token_id=None,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


def save(network: torch.nn.Module, folder: Path) -> Path:
    network.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def gpt2_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tiny_gpt2(), tmp_path_factory.mktemp("models") / "tiny-gpt2")


@pytest.fixture(scope="session")
def llama_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tiny_llama(), tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def prose_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "prose.txt"
    path.write_text(PROSE * 3, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_overrides(gpt2_dir: Path, prose_file: Path) -> list[str]:
    """Overrides that turn the defaults into a run of a second."""
    return [
        f"model={gpt2_dir}",
        "precision=float32",
        f"evaluation.corpora=[text:{prose_file}]",
        "evaluation.context=64",
        "sampling.max_new_tokens=40",
        "training.learning_rate=3e-3",
        "run.max_updates=6",
    ]


@pytest.fixture(scope="session")
def gpt2_tokenizer() -> FastTokenizer:
    from gpt2_checkpoint import gpt2_tokenizer

    return gpt2_tokenizer()
