"""The shell: a recipe becomes a folder of models, one after the other.

Everything is checked before anything is created. A model whose recipe was finished
before is kept.
"""

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from collapse_lm._util.files import require_writable
from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.errors import UserError
from collapse_lm.inference import inference_network
from collapse_lm.machine.allocator import keep_freed_memory
from collapse_lm.machine.compute import Compute, choose_device, choose_precision
from collapse_lm.measures.validation import evaluate
from collapse_lm.pretraining.folder import (
    find_conflict,
    read_fingerprint,
    read_provenance,
    save_model,
)
from collapse_lm.pretraining.network import count_parameters, make_network
from collapse_lm.pretraining.recipe import Recipe, Size
from collapse_lm.pretraining.texts import Texts, fingerprint, load_texts
from collapse_lm.pretraining.tokenizer import encode_corpus, train_tokenizer
from collapse_lm.pretraining.train import Learned, pretrain
from collapse_lm.rundir.manifest import describe_corpus, device_name, git_commit, package_version

FORMAT_VERSION = 1  # of provenance.json
_LAST = 50  # steps whose mean is the train loss of the provenance
_PACKAGES = ("collapse-lm", "torch", "transformers", "tokenizers")

OnStep = Callable[[Size, Learned], None]


@dataclass(frozen=True)
class Built:
    """A model of the ladder.

    Attributes:
        size: width and depth.
        folder: where it lies, in the hub's layout.
        is_new: False when an earlier run had finished it.
        provenance: what provenance.json holds.
    """

    size: Size
    folder: Path
    is_new: bool
    provenance: dict[str, Any]


OnModel = Callable[[Built], None]


@dataclass(frozen=True)
class Materials:
    """What all models of a ladder share."""

    tokenizer: Any
    ids: Tensor
    held_out: EvaluationSet
    compute: Compute


def pretrain_ladder(
    recipe: Recipe,
    out: Path,
    texts: Texts | None = None,
    on_step: OnStep = lambda size, learned: None,
    on_model: OnModel = lambda built: None,
) -> list[Built]:
    """Train each size of a recipe into its folder `out/WIDTHxDEPTH`.

    Args:
        recipe: what to train.
        out: holds the folders; made where it does not exist.
        texts: of the recipe, where they are read already (`texts.load_texts`).
        on_step: sees every optimizer step.
        on_model: sees every model once it is on disk, also a kept one.

    Raises:
        UserError: for a corpus that cannot be had or is too short, a folder in use for
            something else (before anything is created), or a loss that diverges.
        MachineError: where the disk does not take a model.
    """
    texts = texts or load_texts(recipe)
    marks = {size: fingerprint(recipe, size, texts) for size in recipe.ladder}
    check_places(out, marks)
    materials: Materials | None = None
    ladder: list[Built] = []
    for size, mark in marks.items():
        folder = out / str(size)
        is_new = read_fingerprint(folder) != mark
        if is_new:
            materials = materials or prepare_materials(recipe, texts)
            train_model(recipe, size, mark, texts, materials, folder, on_step)
        ladder.append(Built(size, folder, is_new, read_provenance(folder)))
        on_model(ladder[-1])
    return ladder


def check_places(out: Path, marks: dict[Size, str]) -> None:
    """Refuse a ladder of which any folder is in use for something else.

    Raises:
        UserError: naming every such folder.
        MachineError: where nothing can be made there.
    """
    if out.exists() and not out.is_dir():
        raise UserError.single("--out", f"{out}, a file", "a folder", "choose another --out")
    found = [find_conflict(out / str(size), mark) for size, mark in marks.items()]
    problems = [problem for problem in found if problem is not None]
    if problems:
        raise UserError(problems)
    require_writable(out)


def prepare_materials(recipe: Recipe, texts: Texts) -> Materials:
    """Train the tokenizer and encode both texts.

    Raises:
        UserError: for a text of fewer tokens than a window takes.
    """
    keep_freed_memory()
    learned, context = texts.learned, recipe.context
    tokenizer = train_tokenizer(learned.text, recipe.vocabulary, context)
    ids_N = encode_corpus(tokenizer, learned.name, learned.text, context)
    held_out = EvaluationSet.build(texts.held_out, tokenizer, tokenizer.bos_token_id, context)
    return Materials(
        tokenizer, ids_N, held_out, choose_precision(recipe.precision, choose_device())
    )


def train_model(
    recipe: Recipe,
    size: Size,
    mark: str,
    texts: Texts,
    materials: Materials,
    folder: Path,
    on_step: OnStep,
) -> None:
    """Train one model and write its folder."""
    started, begin = datetime.now(UTC), time.perf_counter()
    start_token = materials.tokenizer.bos_token_id
    network = make_network(size, recipe, len(materials.tokenizer), start_token)
    network.to(materials.compute.device)
    rows: list[dict[str, Any]] = []
    for learned in pretrain(network, materials.ids, start_token, recipe, materials.compute):
        rows.append({**asdict(learned), "seconds": round(time.perf_counter() - begin, 4)})
        on_step(size, learned)
    provenance = {
        "format_version": FORMAT_VERSION,
        "recipe_sha256": mark,
        "size": str(size),
        "recipe": recipe.model_dump(mode="json", exclude={"sizes"}),
        "parameters": count_parameters(network),
        **_describe_texts(texts, materials),
        **_describe_training(rows, started),
        "held_out_loss": asdict(_held_out_loss(network, materials)),
        **_describe_machine(materials.compute),
    }
    save_model(folder, network, materials.tokenizer, rows, provenance)


def _held_out_loss(network: Any, materials: Materials) -> Any:
    """In float32 whatever the training ran in, so that machines compare."""
    return evaluate(inference_network(network.eval(), "float32"), materials.held_out)


def _describe_texts(texts: Texts, materials: Materials) -> dict[str, Any]:
    learned, tokenizer = texts.learned, materials.tokenizer
    return {
        "corpus": {
            "name": learned.name,
            "source": learned.source,
            "sha256": learned.sha256,
            "form": learned.form,
            "licence": learned.licence,
            "tokens": len(materials.ids),
        },
        "held_out": describe_corpus(materials.held_out),
        "tokenizer": {
            "kind": "byte-level BPE, trained on the corpus",
            "vocabulary": len(tokenizer),
            "end_token": tokenizer.eos_token,
        },
    }


def _describe_training(rows: list[dict[str, Any]], started: datetime) -> dict[str, Any]:
    last = rows[-_LAST:]
    return {
        "started": started.isoformat(timespec="seconds"),
        "seconds": rows[-1]["seconds"],
        "steps": rows[-1]["step"],
        "tokens": rows[-1]["tokens"],
        "train_loss": sum(row["loss"] for row in last) / len(last),
        "train_loss_steps": len(last),
    }


def _describe_machine(compute: Compute) -> dict[str, Any]:
    return {
        "precision": compute.precision,
        "device": device_name(compute.device),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: package_version(name) for name in _PACKAGES},
        "git_commit": git_commit(),
    }
