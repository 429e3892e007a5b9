"""The configuration of a run: what each key means and which values it takes.

Every default is stated here once; a preset is a short diff over these. The
docstring under a field is its help text and its description in the JSON schema; keys
that decide no number of a run are marked `OBSERVES`. Within an identity version
(see `identity`) no default may change. Knows nothing of files, presets or the command
line (see `load`).
"""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from collapse_lm.config.parts import (
    AdamW,
    AnyMeasures,
    AnyObjective,
    AnyObservers,
    AnyOptimizer,
    AnySource,
    Nll,
    Own,
    Pictures,
)
from collapse_lm.config.section import (
    OBSERVES,
    CheckpointEvery,
    CorpusReferences,
    Float,
    Int,
    Section,
    Speculation,
)


class SamplingConfig(Section):
    """How the current model draws the sample of an update."""

    prompt: str = ""
    """Text before the sample, context but never a target. Empty: the start token."""
    prompts: str | None = Field(default=None, min_length=1)
    """File of prompts, one per line, or JSONL with a key `prompt`; null uses `prompt` for all."""
    prompt_order: Literal["sequential", "random"] = "sequential"
    """sequential: the prompts in the order of the file, again from its start when it ends. random:
    drawn with replacement, from a stream of their own; read only with `prompts`."""
    start_token: str = Field(default="auto", min_length=1)
    """Stands for an empty prompt. auto: the tokenizer's BOS, else its EOS. document: what began a
    document in the model's training, where that is known. Any other text is itself the token."""
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

    @model_validator(mode="after")
    def _one_kind_of_prompt(self) -> Self:
        if self.prompt and self.prompts is not None:
            raise PydanticCustomError("prompts", "null where sampling.prompt is given")
        return self


class TrainingConfig(Section):
    """The optimizer step, with a constant learning rate."""

    learning_rate: Float = Field(default=1e-4, ge=0)
    """Constant learning rate. 0 is the control that must not change anything."""
    optimizer: AnyOptimizer = AdamW()
    """Rule of the step: adamw (the paper's) or sgd."""
    weight_decay: Float = Field(default=0.1, ge=0)
    """Weight decay, on tensors of two or more dimensions only; decoupled for AdamW."""
    grad_clip: Float | None = Field(default=1.0, gt=0)
    """Largest gradient norm (L2, over all parameters); null does not clip."""
    window: Int | None = Field(default=None, ge=1)
    """Train on one random window of this many tokens of the sample; null trains on all of it."""
    retokenize: bool = False
    """Decode the sample to text and tokenize that again before training (the authors' code)."""
    steps_per_update: Int = Field(default=1, ge=1)
    """Optimizer steps on the sample of one update."""


class EvaluationConfig(Section):
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


class CollapseRule(Section):
    """Thresholds of the collapse rule; docs/collapse-rule.md measures the defaults."""

    loop_share: Float = Field(default=0.5, gt=0, le=1)
    """A sample is degenerate when at least this share of its tokens lies in one loop."""
    seq_rep_4: Float = Field(default=0.6, gt=0, le=1)
    """... or when at least this share of its 4-grams is a repetition."""
    train_loss: Float = Field(default=0.1, ge=0)
    """... or when its loss under the model that drew it (nats per token) is below this."""
    patience: Int = Field(default=5, ge=1)
    """Degenerate samples in a row that make a collapse; its update is the first of them."""


class CollapseConfig(CollapseRule):
    """The collapse rule, and what a run does once it is met."""

    stop: bool = True
    """End the run once the rule is met; false goes on to run.max_updates."""
    aftermath: Int = Field(default=0, ge=0)
    """Updates to go on for after the rule is met, to see what a collapsed model does."""


class ProbeConfig(Section):
    """Samples of the current model that the rule and the text measures look at.

    Under `source.kind: own` they are the samples of the batch, at no cost.
    """

    every: Int = Field(default=1, ge=1)
    """Updates between two probes; only these updates are judged, and `collapse.patience` counts
    them."""
    samples: Int | None = Field(default=None, ge=1)
    """Samples of a probe; null: sampling.batch_size. Under `own` another number than that of the
    batch is drawn apart from it."""


class RunConfig(Section):
    """The length of a run, and what it leaves beside its record."""

    max_updates: Int = Field(default=1000, ge=0, json_schema_extra=OBSERVES)
    """Largest number of updates; a run that gets here without a collapse is censored."""
    max_minutes: Float | None = Field(default=None, gt=0, json_schema_extra=OBSERVES)
    """Wall time after which a run ends with the update that it is at, in minutes over all its
    processes; it is then censored, keeps a checkpoint, and can be extended. null: no limit."""
    checkpoint_every: CheckpointEvery = Field(default="auto", json_schema_extra=OBSERVES)
    """Updates between checkpoints. auto: as often as costs at most 4 % of the time. off: never, so
    that a resumed run begins again."""
    checkpoints_kept: Int = Field(default=2, ge=0, json_schema_extra=OBSERVES)
    """Checkpoints kept while a run goes on (at least one). A censored run that has ended keeps its
    newest, so that it can be extended, unless this is 0; others keep none."""
    export_model: bool = Field(default=False, json_schema_extra=OBSERVES)
    """Save the final weights in RUN/model, in the hub's layout, for transformers."""


class Config(Section):
    """One configuration; with its seed it is one run."""

    seed: Int = Field(default=0, ge=0, lt=2**63)
    """Seed of every random stream of the run."""
    model: str = Field(default="smollm2-135m", min_length=1)
    """smollm2-135m (packaged), a name on the Hugging Face hub, or a local folder in its layout."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """bfloat16 keeps float32 master weights; auto takes it where the hardware has it."""
    source: AnySource = Own()
    """Where the text of an update comes from. own: samples of the current model."""
    sampling: SamplingConfig = SamplingConfig()
    """How the current model draws samples: those of `own`, and probes."""
    objective: AnyObjective = Nll()
    """What a step minimises. nll: the mean negative log-likelihood of the batch."""
    training: TrainingConfig = TrainingConfig()
    """The optimizer step."""
    probe: ProbeConfig = ProbeConfig()
    """Samples of the current model that the rule and the text measures look at."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Losses on real text."""
    measures: AnyMeasures = ()
    """Measures beside validation losses and text metrics."""
    collapse: CollapseConfig = CollapseConfig()
    """The collapse rule."""
    run: RunConfig = RunConfig()
    """The length of a run, and what it leaves beside its record."""
    observers: AnyObservers = Field(default=(Pictures(),), json_schema_extra=OBSERVES)
    """Who watches the run and decides nothing; one that fails is told and switched off."""

    @model_validator(mode="after")
    def _window_within_sample(self) -> Self:
        window, tokens = self.training.window, self.sampling.max_new_tokens
        if self.source.is_own and window is not None and window > tokens:
            raise PydanticCustomError(
                "window", "at most sampling.max_new_tokens ({tokens})", {"tokens": tokens}
            )
        return self
