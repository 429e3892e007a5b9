"""Resolve a model reference and load it: packaged, local folder, or hub.

Weights are read from safetensors only and code from a checkpoint is never run
(trust_remote_code is off). The model comes back in float32 and in evaluation mode:
dropout stays off throughout an experiment, as in Table 2 of the paper.
"""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from collapse_lm._util.files import open_to_umask
from collapse_lm.errors import UserError
from collapse_lm.models import ladder, packaged
from collapse_lm.models.embeddings import check_ids, embedding_rows, require_fit
from collapse_lm.models.files import LocalModel, find_hub_model, find_local_model, is_local
from collapse_lm.models.positions import max_positions
from collapse_lm.models.provenance import hash_inputs
from collapse_lm.models.tokens import auto_start
from collapse_lm.models.trial import keep_weights_still, try_once
from collapse_lm.toys.names import is_toy, parse

Kind = Literal["packaged", "local", "hub", "memory", "toy"]


@dataclass(frozen=True)
class Provenance:
    """Where a model came from; written to the manifest.

    Attributes:
        reference: the string that named it.
        kind: packaged, local, hub, memory for a network that the caller holds, or toy.
        location: package, folder or repository it was read from; empty for memory.
        revision: commit on the hub, or release of the package; None for a folder.
        parameters: number of parameters, tied ones counted once.
        sha256: of its safetensors files (of names and contents, in name order), of a toy's
            weights; empty for memory.
        files: SHA-256 of what else of it decides numbers, by name (`hash_inputs`).
    """

    reference: str
    kind: Kind
    location: str
    revision: str | None
    parameters: int
    sha256: str
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A causal language model of transformers with what is needed to use it.

    Attributes:
        network: as `load_model` gives it, in float32 and evaluation mode; by `of`, as it is.
        tokenizer: a fast tokenizer of transformers.
        start_token: stands for an empty prompt: BOS, or EOS without one.
        eos_token: ends a sample under `sampling.stop_at_eos`; None if it has none.
        max_positions: longest sequence it accepts; None if unbounded.
        provenance: where it came from.
        kept: values of its configuration that are other ones while it is used here.
    """

    network: Any
    tokenizer: Any
    start_token: int
    eos_token: int | None
    max_positions: int | None
    provenance: Provenance
    kept: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, network: Any, tokenizer: Any, name: str = "model") -> "LanguageModel":
        """Take a causal language model of transformers that is in memory, as it is.

        Args:
            network: may be trained meanwhile, in any precision, on any device.
            tokenizer: a fast one, whose tokens all have embeddings.
            name: in messages.

        Raises:
            UserError: for a tokenizer that does not fit.
        """
        require_fit(name, network, tokenizer)
        count = sum(p.numel() for p in network.parameters())
        return _model(network, tokenizer, Provenance(name, "memory", "", None, count, ""), {})

    def __repr__(self) -> str:
        count = f"{self.provenance.parameters:,} parameters"
        return f"LanguageModel({self.provenance.reference!r}, {_type(self.network)}, {count})"

    def save(self, folder: Path | str) -> None:
        """Write network and tokenizer in the hub's layout; transformers loads the folder."""
        folder = Path(folder)
        config = self.network.config
        used = {name: getattr(config, name) for name in self.kept}
        config.update(self.kept)
        try:
            self.network.save_pretrained(folder)
        finally:
            config.update(used)
        self.tokenizer.save_pretrained(folder)
        open_to_umask(folder)


def load_model(reference: str | Path) -> LanguageModel:
    """Load the model behind a reference, in float32 and evaluation mode.

    Args:
        reference: a name (`collapse-lm models` lists those at hand, others are looked for on
            the hub), a folder in the hub's layout, `ladder:WIDTHxDEPTH[@SEED]`, which is made
            where the cache does not hold it, or a toy (docs/toys.md).

    Raises:
        UserError: for a name that exists nowhere, a folder without safetensors, a
            checkpoint that would run its own code, a missing package, and for a model that
            is not causal or whose own code fails.
    """
    reference = name_of(reference)
    if is_toy(reference):
        return _toy(reference)
    kind, found = _locate(reference)
    with ThreadPoolExecutor(1) as pool:  # half a second for 500 MB, while the model is loaded
        hashing = pool.submit(hash_weights, found.folder)
        network, tokenizer = _load_files(reference, found.folder)
        require_fit(reference, network, tokenizer)
        kept = keep_weights_still(network)
        try_once(reference, network)
    provenance = Provenance(
        reference=reference,
        kind=kind,
        location=found.location,
        revision=found.revision,
        parameters=sum(p.numel() for p in network.parameters()),
        sha256=hashing.result(),
        files=hash_inputs(found.folder),
    )
    return _model(network, tokenizer, provenance, kept)


def _toy(reference: str) -> LanguageModel:
    """Make a toy, which follows from its name."""
    from collapse_lm.toys import networks
    from collapse_lm.toys.vocabulary import tokenizer_of

    toy = parse(reference)
    network = networks.make(toy)
    count = sum(p.numel() for p in network.parameters())
    place, digest = "package collapse_lm.toys", networks.fingerprint(network)
    provenance = Provenance(reference, "toy", place, None, count, digest)
    return _model(network, tokenizer_of(toy.types), provenance, {})


def name_of(model: object) -> str:
    """The name by which a model is told and found.

    Raises:
        UserError: for anything but text, a path or a `LanguageModel`.
    """
    if isinstance(model, LanguageModel):
        return model.provenance.reference
    if isinstance(model, (str, Path)):
        return str(model)
    raise UserError.single(
        "model",
        f"a {_type(model)}",
        "the name of a model, its folder, or a LanguageModel",
        "LanguageModel.of(network, tokenizer) takes a network that is in memory",
    )


def _type(of: object) -> str:
    return type(of).__name__


def _model(
    network: Any, tokenizer: Any, provenance: Provenance, kept: Mapping[str, Any]
) -> LanguageModel:
    start = _require_start(provenance.reference, auto_start(tokenizer))
    check_ids(f"model {provenance.reference}, start token", [start], network, tokenizer)
    return LanguageModel(
        network=network,
        tokenizer=tokenizer,
        start_token=start,
        eos_token=tokenizer.eos_token_id,
        max_positions=max_positions(network.config),
        kept=kept,
        provenance=provenance,
    )


def _locate(reference: str) -> tuple[Kind, LocalModel]:
    if reference == packaged.NAME:
        return "packaged", packaged.prepare()
    if ladder.is_ladder(reference):
        return "local", ladder.prepare(reference)
    if is_local(reference):
        return "local", find_local_model(reference)
    return "hub", find_hub_model(reference)


def _load_files(reference: str, folder: Path) -> tuple[Any, Any]:
    """Load network and tokenizer from a folder in the hub's layout."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    from collapse_lm.toys.networks import register

    logging.disable_progress_bar()
    register()  # a toy may have been exported
    try:
        network, report = AutoModelForCausalLM.from_pretrained(
            folder,
            output_loading_info=True,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
        embedding_rows(network)  # some have none
    except MemoryError:
        raise
    except Exception as error:  # tokenizers raises plain Exception, configurations what they like
        first_line = str(error).strip().partition("\n")[0]
        raise UserError.single(
            f"model {reference}",
            f"files that transformers cannot load: {first_line}",
            "a causal language model in the hub's layout, without code of its own",
            "save it with model.save_pretrained and tokenizer.save_pretrained",
        ) from error
    if report["missing_keys"]:
        raise UserError.single(
            f"model {reference}",
            f"weights without {', '.join(sorted(report['missing_keys'])[:5])}",
            "every weight; transformers would draw the missing ones at random",
            "save it again with model.save_pretrained",
        )
    return network.eval(), tokenizer


def _require_start(reference: str, token: int | None) -> int:
    if token is None:
        raise UserError.single(
            f"model {reference}",
            "a tokenizer with neither BOS nor EOS token",
            "a token that can stand for an empty prompt",
            "set bos_token in tokenizer_config.json",
        )
    return token


def hash_weights(folder: Path) -> str:
    """Return one SHA-256 over the names and contents of a folder's safetensors files."""
    total = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            total.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
