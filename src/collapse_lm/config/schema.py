"""The configuration of a run: what each key means and which values it takes.

Every default is stated here once; a preset is a short diff over these. The
docstring under a field is its help text and its description in the JSON schema.
Knows nothing of files, presets or the command line (see `load`).
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError


class _Section(BaseModel):
    """Frozen, closed, and lenient in types: PyYAML reads 3e-4 as a string."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
        validate_default=True,
    )


def _no_bool(value: object) -> object:
    """Refuse a bool as a number: YAML reads no, off, yes and on as bools."""
    if isinstance(value, bool):
        raise PydanticCustomError("bool_as_number", "a number")
    return value


Int = Annotated[int, BeforeValidator(_no_bool)]
Float = Annotated[float, BeforeValidator(_no_bool)]


def _off_again(value: object) -> object:
    """YAML reads off as False."""
    return "off" if value is False else _no_bool(value)


Speculation = Annotated[
    Annotated[int, Field(ge=1, le=64)] | Literal["auto", "off"], BeforeValidator(_off_again)
]


CheckpointEvery = Annotated[
    Annotated[int, Field(ge=1)] | Literal["auto", "off"], BeforeValidator(_off_again)
]


def _as_list(value: object) -> object:
    """Let a single corpus reference stand for a list of one."""
    return [value] if isinstance(value, str) else value


CorpusReferences = Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(min_length=1)]


class SamplingConfig(_Section):
    """How the current model draws the sample of an update."""

    prompt: str = ""
    """Text before the sample, context but never a target. Empty: the model's BOS token (EOS where
    it has no BOS)."""
    context: Literal["full", "sliding"] = "full"
    """full: a new token sees everything before it. sliding: only the last block_size tokens, with
    positions counted again from 0 (the authors' code)."""
    block_size: Int = Field(default=100, ge=1)
    """Tokens that a new token may see; read only when context is sliding."""
    temperature: Float = Field(default=0.8, ge=0)
    """Divides the logits before the softmax; 0 is greedy."""
    top_k: Int | None = Field(default=500, ge=1)
    """Keep the k most probable tokens; null keeps all."""
    top_p: Float | None = Field(default=None, gt=0, le=1)
    """Keep the smallest set of tokens whose probability reaches p, after top_k; null keeps all."""
    max_new_tokens: Int = Field(default=200, ge=1)
    """Length of a sample in tokens."""
    batch_size: Int = Field(default=1, ge=1)
    """Samples per update; the step trains on all of them."""
    stop_at_eos: bool = False
    """End a sample at the EOS token; otherwise EOS is an ordinary token."""
    speculation: Speculation = "auto"
    """Tokens to propose from earlier text and check in one pass (full context only); changes no
    sampled token. auto fits the proposals to the batch, off draws token by token."""


class TrainingConfig(_Section):
    """The optimizer step: AdamW with a constant learning rate."""

    learning_rate: Float = Field(default=1e-4, ge=0)
    """Constant learning rate of AdamW. 0 is the control that must not change anything."""
    betas: tuple[Annotated[Float, Field(ge=0, lt=1)], Annotated[Float, Field(ge=0, lt=1)]] = (
        0.9,
        0.95,
    )
    """AdamW's decay rates of the first and second moment."""
    weight_decay: Float = Field(default=0.1, ge=0)
    """Decoupled weight decay, on tensors of two or more dimensions only."""
    grad_clip: Float | None = Field(default=1.0, gt=0)
    """Largest gradient norm (L2, over all parameters); null does not clip."""
    window: Int | None = Field(default=None, ge=1)
    """Train on one random window of this many tokens of the sample; null trains on all of it."""
    retokenize: bool = False
    """Decode the sample to text and tokenize that again before training (the authors' code)."""
    steps_per_update: Int = Field(default=1, ge=1)
    """Optimizer steps on the sample of one update."""


class EvaluationConfig(_Section):
    """Losses of the current model on real text, in fixed windows."""

    corpora: CorpusReferences = ("sotu",)
    """Names (sotu, sotu-train, sotu-19th, wikitext2, wikitext2-raw, ptb) or text:PATH."""
    every: Int = Field(default=1, ge=1)
    """Evaluate after every so many updates; also at 0 and at the end."""
    context: Int = Field(default=512, ge=1)
    """Longest context in tokens; smaller contexts give higher losses, so it is recorded."""
    stride: Int | None = Field(default=None, ge=1)
    """Tokens between the starts of two windows; null means context (windows do not overlap)."""
    tokens: Int | None = Field(default=None, ge=1)
    """Score about this many tokens, in windows spread evenly over the split; null scores all."""

    @model_validator(mode="after")
    def _stride_within_context(self) -> Self:
        if self.stride is not None and self.stride > self.context:
            raise PydanticCustomError(
                "stride", "at most evaluation.context ({context})", {"context": self.context}
            )
        return self


class CollapseConfig(_Section):
    """The collapse rule; docs/collapse-rule.md measures its defaults."""

    loop_share: Float = Field(default=0.5, gt=0, le=1)
    """A sample is degenerate when at least this share of its tokens lies in one loop."""
    seq_rep_4: Float = Field(default=0.6, gt=0, le=1)
    """... or when at least this share of its 4-grams is a repetition."""
    train_loss: Float = Field(default=0.1, ge=0)
    """... or when the train loss (nats per token) is below this."""
    patience: Int = Field(default=5, ge=1)
    """Degenerate samples in a row that make a collapse; its update is the first of them."""
    stop: bool = True
    """End the run once the rule is met; false goes on to run.max_updates."""
    aftermath: Int = Field(default=0, ge=0)
    """Updates to go on for after the rule is met, to see what a collapsed model does."""


class RunConfig(_Section):
    """The length of a run, and what it leaves beside its record."""

    max_updates: Int = Field(default=1000, ge=0)
    """Largest number of updates; a run that gets here without a collapse is censored."""
    checkpoint_every: CheckpointEvery = "auto"
    """Updates between checkpoints. auto: as often as costs at most 4 % of the time. off: never, so
    that a resumed run begins again."""
    checkpoints_kept: Int = Field(default=2, ge=0)
    """Checkpoints kept while a run goes on (at least one). A censored run that has ended keeps its
    newest, so that it can be extended, unless this is 0; others keep none."""
    export_model: bool = False
    """Save the final weights in RUN/model, in the hub's layout, for transformers."""


class Config(_Section):
    """One configuration; with its seed it is one run."""

    seed: Int = Field(default=0, ge=0, lt=2**63)
    """Seed of every random stream of the run."""
    model: str = Field(default="smollm2-135m", min_length=1)
    """smollm2-135m (packaged), a name on the Hugging Face hub, or a local folder in its layout."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """bfloat16 keeps float32 master weights; auto takes it where the hardware has it."""
    sampling: SamplingConfig = SamplingConfig()
    """How the current model draws the sample of an update."""
    training: TrainingConfig = TrainingConfig()
    """The optimizer step."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Losses on real text."""
    collapse: CollapseConfig = CollapseConfig()
    """The collapse rule."""
    run: RunConfig = RunConfig()
    """The length of a run, and what it leaves beside its record."""

    @model_validator(mode="after")
    def _window_within_sample(self) -> Self:
        window, tokens = self.training.window, self.sampling.max_new_tokens
        if window is not None and window > tokens:
            raise PydanticCustomError(
                "window", "at most sampling.max_new_tokens ({tokens})", {"tokens": tokens}
            )
        return self
