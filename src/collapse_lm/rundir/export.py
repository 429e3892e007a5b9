"""RUN/model: the final weights in the hub's layout, as a whole or not at all.

An export is loaded again and compared before it takes its place.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from collapse_lm._util.files import writing
from collapse_lm.errors import MachineError, UserError
from collapse_lm.models.load import LanguageModel, load_model
from collapse_lm.models.trial import probe_ids
from collapse_lm.rundir.layout import MODEL

_TEXT = "The quick brown fox, 12 + 1 = 13.\n\n\tÀ la carte: 漢字."
_SLACK = 1e-4  # of the norm of the logits; where the model is on a GPU, the export is not


def export_model(model: LanguageModel, run: Path) -> None:
    """Write RUN/model.

    Raises:
        MachineError: when the disk fails, or what was written does not load as the model
            that it is of; an earlier export stays.
    """
    place, workplace = run / MODEL, run / f".{MODEL}"
    with writing(place, SafetensorError):
        shutil.rmtree(workplace, ignore_errors=True)
        try:
            model.save(workplace)
            _require_same(model, workplace)
            shutil.rmtree(place, ignore_errors=True)
            workplace.rename(place)
        finally:
            shutil.rmtree(workplace, ignore_errors=True)


def _require_same(model: LanguageModel, folder: Path) -> None:
    try:
        wrong = list(_differences(model, load_model(str(folder))))
    except UserError as error:
        problem = error.problems[0]
        wrong = [f"it does not load: {problem.got}"]
    if wrong:
        more = f", and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise MachineError(
            f"the exported model is not the model of the run: {', '.join(wrong[:5])}{more}\n"
            "  fix       resume with --set run.export_model=false; the checkpoint has the weights"
        )


def _differences(model: LanguageModel, again: LanguageModel) -> Iterator[str]:
    """What differs: tensors by name, the logits of a fixed text, tokens."""
    ours, theirs = model.network.state_dict(), again.network.state_dict()
    for name in sorted({*ours, *theirs}):
        if name not in ours or name not in theirs or not _is_equal(ours[name], theirs[name]):
            yield name
    logits, others = _logits(model.network), _logits(again.network)
    if not bool((logits - others).norm() <= _SLACK * logits.norm()) and logits.isfinite().all():
        yield "the logits of a fixed text"
    if model.tokenizer(_TEXT)["input_ids"] != again.tokenizer(_TEXT)["input_ids"]:
        yield "the tokens of a fixed text"


def _is_equal(one: Tensor, other: Tensor) -> bool:
    other = other.to(one.device)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


@torch.inference_mode()
def _logits(network: Any) -> Tensor:
    logits: Tensor = network(input_ids=probe_ids(network, 1), use_cache=False).logits
    return logits.double().cpu()
