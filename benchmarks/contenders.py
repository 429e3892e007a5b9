"""Who is timed: our loop, transformers used plainly, and the reference code's algorithm.

Each contender is a function of a configuration that yields the seconds of every
update by phase, starting from the same base weights. The plain ones are what a user of
transformers writes first: its own classes, default AdamW, one window at a time. They know
batches of one sample and the settings of the presets, and refuse others.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.functional import cross_entropy, softmax
from transformers import AutoModelForCausalLM

from collapse_lm.config import Config
from collapse_lm.config.parts import AdamW
from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.experiment.build import evaluation_sets, load_corpora, prepare
from collapse_lm.loop import self_train
from collapse_lm.models.load import LanguageModel, load_model

Seconds = dict[str, float]  # of one update by phase; with the counts of tokens and passes
Contender = Callable[[Config], Iterator[Seconds]]
_PHASES = ("sample", "train", "evaluate")


def ours(config: Config) -> Iterator[Seconds]:
    """Our loop without its files: row 0 is the base model's evaluation."""
    parts = prepare(config)
    for record in self_train(parts.state, parts.experiment):
        row = record.row
        seconds = {phase: row.values[f"seconds.{phase}"] for phase in _PHASES if record.update}
        counts = {"tokens": record.batch.tokens, "passes": row.values.get("draw.forward_passes", 0)}
        yield {"evaluate": row.values["seconds.evaluate"], **seconds, **counts}


def without_speculation(config: Config) -> Iterator[Seconds]:
    """Our loop, token by token."""
    sampling = config.sampling.model_copy(update={"speculation": "off"})
    yield from ours(config.model_copy(update={"sampling": sampling}))


def transformers_bfloat16(config: Config) -> Iterator[Seconds]:
    """`generate` and evaluation on a bfloat16 copy, the step under autocast."""
    yield from _plain(config, torch.bfloat16)


def transformers_float32(config: Config) -> Iterator[Seconds]:
    """The same on the float32 weights themselves."""
    yield from _plain(config, torch.float32)


def reference_algorithm(config: Config) -> Iterator[Seconds]:
    """What the authors' code does per update: float32, no cache, a sliding block of 100."""
    model, sets = _load(config)
    network, optimizer = model.network, _adamw(model.network, config)
    yield {"evaluate": _timed(lambda: _one_by_one(network, sets))}
    for _ in range(config.run.max_updates):
        ids = torch.tensor([_prompt(config, model)])
        begin = time.perf_counter()
        ids = _without_cache(network, ids, config)
        sampled = time.perf_counter()
        start = int(torch.randint(ids.shape[1] - 100, ()))
        _step(network, optimizer, ids[:, start : start + 101], config, nullcontext())
        trained = time.perf_counter()
        _one_by_one(network, sets)
        yield _seconds(begin, sampled, trained, config)


def _plain(config: Config, dtype: torch.dtype) -> Iterator[Seconds]:
    if config.sampling.context == "sliding" or config.training.window:
        sys.exit("transformers' generate has no sliding block; compare it with full context")
    model, sets = _load(config)
    master, optimizer = model.network, _adamw(model.network, config)
    working = master
    if dtype == torch.bfloat16:
        working = AutoModelForCausalLM.from_config(master.config, dtype=dtype).eval()
        working.load_state_dict(master.state_dict())
    working.generation_config.eos_token_id = None
    yield {"evaluate": _timed(lambda: _one_by_one(working, sets))}
    ids = torch.tensor([_prompt(config, model)])
    for _ in range(config.run.max_updates):
        begin = time.perf_counter()
        sample = working.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=config.sampling.temperature,
            top_k=config.sampling.top_k,
            max_new_tokens=config.sampling.max_new_tokens,
            pad_token_id=0,
        )
        sampled = time.perf_counter()
        autocast = torch.autocast("cpu", dtype=dtype, enabled=dtype == torch.bfloat16)
        _step(master, optimizer, sample, config, autocast)
        if working is not master:
            working.load_state_dict(master.state_dict())
        trained = time.perf_counter()
        _one_by_one(working, sets)
        yield _seconds(begin, sampled, trained, config)


def _refuse_what_is_not_written_here(config: Config) -> None:
    """Keep a comparison from being one of different work."""
    sampling, training = config.sampling, config.training
    if (
        sampling.batch_size != 1
        or sampling.top_p is not None
        or sampling.stop_at_eos
        or sampling.prompts is not None
        or sampling.start_token != "auto"
        or training.retokenize
        or training.steps_per_update != 1
        or not isinstance(training.optimizer, AdamW)
        or config.evaluation.every != 1
        or torch.cuda.is_available()
    ):
        sys.exit("the plain contenders take one sample, top-k only, one step of AdamW, and the CPU")


def _load(config: Config) -> tuple[LanguageModel, tuple[EvaluationSet, ...]]:
    _refuse_what_is_not_written_here(config)
    model = load_model(config.model)
    return model, evaluation_sets(config, model, load_corpora(config))


def _prompt(config: Config, model: LanguageModel) -> list[int]:
    text = config.sampling.prompt
    encoded = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    return list(encoded) if text else [model.start_token]


def _adamw(network: torch.nn.Module, config: Config) -> torch.optim.AdamW:
    training, rule = config.training, config.training.optimizer
    assert isinstance(rule, AdamW)  # others were refused
    return torch.optim.AdamW(
        network.parameters(),
        lr=training.learning_rate,
        betas=rule.betas,
        weight_decay=training.weight_decay,
    )


def _step(
    network: torch.nn.Module,
    optimizer: torch.optim.AdamW,
    ids: torch.Tensor,
    config: Config,
    autocast: AbstractContextManager[object],
) -> None:
    with autocast:
        loss = network(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), config.training.grad_clip)
    optimizer.step()
    optimizer.zero_grad()


@torch.no_grad()
def _without_cache(network: torch.nn.Module, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """Sample as nanoGPT does: every token reads the last 100 anew."""
    sampling = config.sampling
    for _ in range(sampling.max_new_tokens):
        logits = network(input_ids=ids[:, -100:], use_cache=False, logits_to_keep=1).logits[:, -1]
        logits = logits / sampling.temperature
        smallest = torch.topk(logits, sampling.top_k).values[:, -1:]
        logits[logits < smallest] = -torch.inf
        ids = torch.cat([ids, torch.multinomial(softmax(logits, dim=-1), 1)], dim=1)
    return ids


@torch.no_grad()
def _one_by_one(network: torch.nn.Module, sets: tuple[EvaluationSet, ...]) -> None:
    """Evaluate every window by itself, with all its logits in float32."""
    for data in sets:
        total = 0.0
        for window in data.windows:
            inputs = data.ids[window.first_input : window.end][None]
            targets = data.ids[window.first_target + 1 : window.end + 1]
            logits = network(input_ids=inputs, use_cache=False).logits[0, -window.targets :]
            total += cross_entropy(logits.float(), targets, reduction="sum").item()


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _seconds(begin: float, sampled: float, trained: float, config: Config) -> Seconds:
    return {
        "sample": sampled - begin,
        "train": trained - sampled,
        "evaluate": time.perf_counter() - trained,
        "tokens": config.sampling.max_new_tokens,
        "passes": config.sampling.max_new_tokens,
    }


CONTENDERS: dict[str, Contender] = {
    "ours": ours,
    "ours, speculation off": without_speculation,
    "transformers, bfloat16": transformers_bfloat16,
    "transformers, float32": transformers_float32,
    "reference algorithm": reference_algorithm,
}
