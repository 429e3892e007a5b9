"""What a monitor is asked to do, checked once, and the configuration that its record holds.

Knows nothing of models.
"""

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from collapse_lm.config import Config, resolve
from collapse_lm.config.fields import Float, Int, Section
from collapse_lm.config.sections import CollapseRule
from collapse_lm.measures.pool import PROBES

# A chat model may be certain of short answers and well: that the model is certain of a sample is
# no sign of a loop here. What it loses of its entropy is, against the start (state mode).
MONITOR_RULE = CollapseRule(patience=2, train_loss=0.0)
BASE_PROBES = PROBES + 1  # of the baseline: each has five others to be compared with
PREFIXES, PREFIX_TOKENS = 64, 16  # of the held-out text, for the KL divergence to the start
CONTEXT = 128  # tokens of a window of held-out text: many short ones tell more than a few long ones

Prompt = str | Sequence[Mapping[str, Any]]  # a text, or the messages of a conversation


def _several(value: object) -> object:
    """One text stands for a list of one; None for none."""
    if value is None or isinstance(value, str):
        return () if not value else (value,)
    return value


def _takes_a_finding(value: Any) -> Any:
    """Refuse a function that cannot be called with one argument."""
    if callable(value):
        try:
            signature(value).bind(None)
        except TypeError:
            raise PydanticCustomError(
                "arguments", "a function of one argument, the finding"
            ) from None
        except ValueError:  # of a built-in one nothing is known
            pass
    return value


class MonitorSettings(Section):
    """How a monitor watches."""

    out: Path | None = None
    """The run directory that it writes: new, or empty. None: runs/monitor-NAME-TIME."""
    prompts: Annotated[tuple[Any, ...], BeforeValidator(_several)] = ()
    """What stands before the samples of a probe: texts, or conversations as lists of messages,
    which the tokenizer's chat template spells. Sample i has prompt i, and they begin again where
    samples are more; of more prompts than samples the first are used. None: the start token."""
    samples: Int = Field(default=8, ge=1)
    """Samples of a probe, and texts of a step's rollouts that the record keeps."""
    max_new_tokens: Int = Field(default=128, ge=1)
    """Longest sample of a probe, in tokens."""
    temperature: Float = Field(default=0.8, ge=0)
    """Of the samples of probes."""
    top_k: Int | None = Field(default=500, ge=1)
    """Draw from the k most probable tokens; None from all."""
    stop_at_eos: bool = True
    """A sample ends at the EOS token."""
    held_out: str | tuple[str, ...] | None = "auto"
    """Text that is scored at each probe: auto is an English one that comes with the package; the
    name of a corpus, or text:PATH; a list of texts; None scores none, and then there is neither
    drift nor noise."""
    held_out_tokens: Int = Field(default=2048, ge=1)
    """About how many of its tokens are scored."""
    budget: Float = Field(default=0.05, gt=0, le=1)
    """Share of the time since the start that the monitor may take; read where `every` is auto."""
    every: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Steps between probes. auto: as often as the budget allows."""
    rule: CollapseRule = MONITOR_RULE
    """Thresholds of the states. With a patience of 2, a first probe that shows a state is a
    warning, and the second in a row is the verdict."""
    keep_healthy: bool = True
    """Save the model at each probe that shows nothing but drift at most, in place of the last."""
    seed: Int = Field(default=0, ge=0, lt=2**63)
    """Of the random numbers of probes."""
    on_collapse: Annotated[
        Literal["warn", "stop"] | Callable[[Any], Any], AfterValidator(_takes_a_finding)
    ] = "warn"
    """What follows when a state other than drift is entered. warn: a warning in the log; stop: its
    finding says so too; anything that can be called is called with the finding."""
    stop_by_rollouts: bool = True
    """Under stop, a state of the rollouts ends the training too. False leaves that to probes: where
    rollouts are few, short and of few prompts, their states are a hint."""

    def config(self, model: str = "model", corpus: str | None = None, context: int = 1) -> Config:
        """The configuration of the record.

        Args:
            model: its name.
            corpus: name of the held-out text; None without one.
            context: tokens of its windows.
        """
        changes: dict[str, Any] = {
            "seed": self.seed,
            "model": model,
            "sampling": {
                "temperature": self.temperature,
                "top_k": self.top_k,
                "max_new_tokens": self.max_new_tokens,
                "batch_size": self.samples,
                "stop_at_eos": self.stop_at_eos,
                "vocabulary": "tokenizer",
            },
            "collapse": {
                **self.rule.model_dump(),
                "base_samples": BASE_PROBES * self.samples,
                "stop": self.on_collapse == "stop",
            },
        }
        if corpus is not None:
            windows = {"context": context, "tokens": self.held_out_tokens}
            changes["evaluation"] = {"corpora": [corpus], **windows}
            prefixes = {"count": PREFIXES, "tokens": PREFIX_TOKENS}
            changes["measures"] = [{"kind": "prefixes", "corpus": corpus, **prefixes}]
        return resolve(changes)
