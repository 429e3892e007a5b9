"""What works with a checkpoint of any family: runs of ours against loops written out here.

The other side of each comparison is a plain forward of transformers over all tokens,
without a cache, and code of a few lines; nothing of ours but the streams of random numbers.

Shapes: S tokens, V vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from test_run import Seen, untimed
from torch.nn import functional
from transformers import AutoModelForCausalLM

import collapse_lm
from collapse_lm import rng
from collapse_lm.config import load_config
from collapse_lm.errors import UserError
from collapse_lm.inference import inference_network
from collapse_lm.models.load import load_model
from collapse_lm.rundir import RunReader
from collapse_lm.sampling import Drafter, Filters, sample

from conftest import PROSE
from families import START

CONTEXT, TOKENS, TEMPERATURE = 24, 24, 0.8  # three windows of attention each
RATE, DECAY, CLIP = 0.5, 0.1, 1.0
_YES = {True: "yes", False: "no"}
_SHORT = {"bfloat16 copy": "copy", "float32 under autocast to bfloat16": "autocast"}
_SHORT["float32"] = "float32"
CELLS = ("float32 loss", "bfloat16 loss", "sampled ids", "one step", "export", "resume")


@dataclass
class Findings:
    """A row of the table.

    Attributes:
        refused: why the family is refused, where it is.
        cells: for each of CELLS "exact", or what differs.
        means: by what it works: cache, speculation, kernels, bfloat16.
    """

    refused: str = ""
    cells: dict[str, str] = field(default_factory=dict)
    means: dict[str, str] = field(default_factory=dict)

    @property
    def works(self) -> bool:
        """True where every cell is exact."""
        return not self.refused and set(self.cells.values()) == {"exact"}


def examine(folder: Path, workplace: Path) -> Findings:
    """Fill a row of the table for the checkpoint in a folder."""
    family = _Family(folder, workplace)
    try:
        means = family.means()
    except UserError as error:
        return Findings(refused=error.problems[0].got)
    checks: Sequence[Callable[[], str]] = (
        family.float32_loss,
        family.bfloat16_loss,
        family.sampled_ids,
        family.one_step,
        family.export,
        family.resume,
    )
    cells = {cell: check() or "exact" for cell, check in zip(CELLS, checks, strict=True)}
    return Findings("", cells, means)


class _Family:
    """A checkpoint, and the runs that are made with it; a check returns what differs."""

    def __init__(self, folder: Path, workplace: Path) -> None:
        self._folder, self._workplace = folder, workplace
        self._text = workplace / "text.txt"
        workplace.mkdir(parents=True, exist_ok=True)
        self._text.write_text(PROSE, encoding="utf-8")

    def _config(self, *changes: str) -> Any:
        common = [
            f"model={self._folder}",
            f"evaluation.corpora=[text:{self._text}]",
            f"evaluation.context={CONTEXT}",
            "evaluation.stride=null",
            "evaluation.tokens=null",
            f"sampling.max_new_tokens={TOKENS}",
            f"sampling.temperature={TEMPERATURE}",
            "sampling.top_k=null",
            "collapse.stop=false",
            "observers=[]",
            "precision=float32",
        ]
        return load_config("quickstart", [*common, *changes])

    def _run(self, name: str, *changes: str, **options: Any) -> Path:
        config = self._config(*changes)
        return collapse_lm.run(config, self._workplace / name, **options).directory

    def _plain(self, folder: Path | None = None, dtype: torch.dtype = torch.float32) -> Any:
        return AutoModelForCausalLM.from_pretrained(folder or self._folder, dtype=dtype).eval()

    @cached_property
    def _ids(self) -> list[int]:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self._folder)
        return [START, *tokenizer(PROSE, add_special_tokens=False)["input_ids"]]

    @cached_property
    def _stepped(self) -> Path:
        """A run of one step of gradient descent, whose size tells the gradient's."""
        step = [f"training.learning_rate={RATE}", f"training.weight_decay={DECAY}"]
        step += ["training.optimizer.kind=sgd", f"training.grad_clip={CLIP}"]
        return self._run("stepped", *step, "run.max_updates=1", "run.export_model=true")

    @cached_property
    def _in_bfloat16(self) -> Path:
        return self._run("bfloat16", "precision=bfloat16", "run.max_updates=1")

    def _loss(self, run: Path, update: int) -> float:
        (row,) = [row for row in RunReader(run).updates() if row.update == update]
        (name,) = [n for n in row.values if n.startswith("validation.loss")]
        return float(row.values[name])

    # --- the cells ---

    def float32_loss(self) -> str:
        wanted = plain_loss(self._plain(), self._ids)
        return _difference(self._loss(self._stepped, 0), wanted, 1e-5)

    def bfloat16_loss(self) -> str:
        run, exact = self._in_bfloat16, plain_loss(self._plain(), self._ids)
        try:
            rounded = plain_loss(self._plain(dtype=torch.bfloat16), self._ids)
        except RuntimeError:  # where transformers cannot, as with xLSTM
            rounded = exact
        found = self._loss(run, 0)
        is_near = abs(found - exact) <= 3 * abs(rounded - exact) + 0.01
        (text,) = RunReader(run).samples()[0].texts
        drawn = -sum(text.log_probs) / len(text.log_probs)  # as the sampler saw it, with a cache
        is_drawn = abs(drawn - plain_loss(self._plain(), [START, *text.ids])) <= 0.1
        if is_near and is_drawn and math.isfinite(self._loss(run, 1)):
            return ""
        return f"{found:.4f}; transformers {rounded:.4f}; float32 {exact:.4f}; drawn {drawn:.4f}"

    def sampled_ids(self) -> str:
        network = inference_network(load_model(str(self._folder)).network, "float32")
        filters, plain = Filters(TEMPERATURE), self._plain()
        own = rng.uniforms(rng.stream(0, "sample", 1), 1, TOKENS)
        uniforms = torch.cat([own, rng.uniforms(rng.stream(1, "sample", 1), 1, TOKENS)])
        wanted = [uncached_sample(plain, row) for row in uniforms.tolist()]
        (text,) = RunReader(self._stepped).samples()[0].texts
        if list(text.ids) != wanted[0]:
            return f"the run: {_parting(text.ids, wanted[0])}"
        pair = sample(network, [START], uniforms, filters)
        for found, ids in zip(pair.samples, wanted, strict=True):
            if list(found) != ids:
                return f"two together: {_parting(found, ids)}"
        drafter = Drafter(7)
        for known in (wanted[0], _changed(wanted[0])) if network.can_rewind else ():
            drafter.learn(known)
            (found,) = sample(network, [START], own, filters, drafter=drafter).samples
            if list(found) != wanted[0]:
                return f"with speculation: {_parting(found, wanted[0])}"
        return ""

    def one_step(self) -> str:
        (text,) = RunReader(self._stepped).samples()[0].texts
        row = RunReader(self._stepped).updates()[1].values
        plain = self._plain()
        before = {name: p.detach().clone() for name, p in plain.named_parameters()}
        loss, norm = plain_step(plain, list(text.ids))
        after = dict(self._plain(self._stepped / "model").named_parameters())
        wrong = _difference(row["train.loss"], loss, 1e-5) or _difference(
            row["train.grad_norm"], norm, 1e-4
        )
        apart = total(after[n].detach() - p.detach() for n, p in plain.named_parameters())
        moved = total(p.detach() - before[n] for n, p in plain.named_parameters())
        if not wrong and apart > 1e-4 * moved:
            wrong = f"parameters {apart / moved:.1e} of the step apart"
        return wrong

    def export(self) -> str:
        recorded, place = self._loss(self._stepped, 1), self._stepped / "model"
        ours = collapse_lm.evaluate(
            str(place), f"text:{self._text}", precision="float32", context=CONTEXT
        )
        return _difference(plain_loss(self._plain(place), self._ids), recorded, 1e-5) or (
            _difference(ours.loss, recorded, 1e-6)
        )

    def resume(self) -> str:
        changes = ["run.max_updates=6", "training.learning_rate=1e-2", "run.checkpoint_every=3"]
        whole = self._run("whole", *changes)
        seen = Seen()
        parts = self._run(
            "parts", *changes, observers=[seen], should_stop=lambda: seen.updates[-1] == 3
        )
        if RunReader(parts).manifest()["status"] != "interrupted":
            return "was not stopped after update 3"
        collapse_lm.resume(parts)
        if untimed(whole) != untimed(parts):
            return "other rows"
        if (whole / "samples.jsonl").read_bytes() != (parts / "samples.jsonl").read_bytes():
            return "other samples"
        one, other = (load_file(newest(run) / "model.safetensors") for run in (whole, parts))
        is_same = one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)
        return "" if is_same else "other parameters"

    def means(self) -> dict[str, str]:
        exact, half = (RunReader(run).manifest() for run in (self._stepped, self._in_bfloat16))
        passes, steps = exact["inference"], half["step_precision"]
        return {
            "bfloat16": _SHORT[half["inference"]["weights"]]
            + ("" if steps == "bfloat16" else f", steps in {steps}"),
            "cache": _YES[passes["cache"]],
            "speculation": _YES[passes["speculation"]],
            "passes": "transformers" if passes["passes"] == "transformers" else "ours",
        }


# --- the other side, written out ----------------------------------------------------------------


@torch.no_grad()
def plain_loss(network: Any, ids: Sequence[int]) -> float:
    """Mean nats per token, each scored once, in windows of CONTEXT tokens."""
    nats = 0.0
    tokens = len(ids) - 1
    for scored in range(0, tokens, CONTEXT):
        end = min(scored + CONTEXT, tokens)
        piece = torch.tensor([ids[end - CONTEXT : end + 1]])
        logits_SV = network(input_ids=piece[:, :-1], use_cache=False).logits[0].double()
        logits_SV, targets_S = logits_SV[scored - end :], piece[0, scored - end :]
        nats += float(functional.cross_entropy(logits_SV, targets_S, reduction="sum"))
    return nats / tokens


@torch.no_grad()
def uncached_sample(network: Any, uniforms: Sequence[float]) -> list[int]:
    """One token per number, each from a forward over all before it."""
    ids = [START]
    for number in uniforms:
        logits_V = network(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].double()
        cdf_V = torch.softmax(logits_V / TEMPERATURE, dim=-1).cumsum(dim=-1)
        ids.append(int((cdf_V <= number * cdf_V[-1]).sum()))
    return ids[1:]


def plain_step(network: Any, ids: Sequence[int]) -> tuple[float, float]:
    """One step of gradient descent on a sample; return loss and gradient norm before it."""
    network.config.rescale_every = 0  # RWKV's: what it does to weights in evaluation mode
    logits_SV = network(input_ids=torch.tensor([[START, *ids[:-1]]]), use_cache=False).logits[0]
    loss = functional.cross_entropy(logits_SV.float(), torch.tensor(ids))
    loss.backward()
    norm = total(p.grad for p in network.parameters() if p.grad is not None)
    with torch.no_grad():
        for p in network.parameters():
            if p.grad is not None:
                decay = DECAY * p if p.dim() >= 2 else 0
                p -= RATE * (p.grad * min(1.0, CLIP / (norm + 1e-6)) + decay)
    return float(loss.detach()), norm


def total(tensors: Any) -> float:
    """The L2 norm of tensors together."""
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in tensors))


def newest(run: Path) -> Path:
    """The last checkpoint of a run."""
    return max((run / "checkpoints").iterdir())


def _difference(found: float, wanted: float, tolerance: float) -> str:
    is_near = math.isclose(found, wanted, rel_tol=tolerance)
    return "" if is_near else f"{found:.6f} instead of {wanted:.6f}"


def _parting(found: Sequence[int], wanted: Sequence[int]) -> str:
    place = next((i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), -1)
    return f"another token at place {place}"


def _changed(ids: Sequence[int]) -> list[int]:
    """A sample whose every fifth token is another, so that proposals of it fail."""
    return [(token + (place % 5 == 4)) % START for place, token in enumerate(ids)]
