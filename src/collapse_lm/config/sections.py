"""The sections of the configuration that hold no part: plain values with their meaning.

Every default is stated here (and in `schema` and `kinds`) once; within an identity version
no default may change. The docstring under a field is its help text.
"""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from collapse_lm.config.fields import (
    OBSERVES,
    CheckpointEvery,
    CorpusReferences,
    Float,
    Int,
    Names,
    Section,
    Share,
    Speculation,
    Threads,
    Trackers,
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
    prompt_start: Literal["auto", "never"] = "auto"
    """auto: a prompt begins with what the tokenizer itself puts before a text (the BOS of Llama and
    Gemma; nothing for GPT-2 and SmolLM2), once. never: with its own first token."""
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
    min_p: Float = Field(default=0, ge=0, le=1)
    """Keep the tokens that have at least this share of the probability of the most probable one,
    after top_p; 0 keeps all."""
    repetition_penalty: Float = Field(default=1.0, gt=0)
    """Before the temperature, the logits of tokens that stand in the prompt or in the sample so far
    are divided by this where they are positive, and multiplied by it where they are negative, as in
    transformers; 1 leaves them as they are."""
    vocabulary: Literal["model", "tokenizer"] = "model"
    """Ids that may be drawn. model: every row of the model's head, as transformers does, also those
    of padding that are no token. tokenizer: only those that the tokenizer knows."""
    max_new_tokens: Int = Field(default=200, ge=1)
    """Length of a sample in tokens."""
    batch_size: Int = Field(default=1, ge=1)
    """Samples per update; the step trains on all of them."""
    stop_at_eos: bool = False
    """End a sample at the EOS token; otherwise EOS is an ordinary token."""
    min_new_tokens: Int = Field(default=0, ge=0)
    """Tokens before which a sample does not end: its EOS token is not drawn until then. Read only
    with stop_at_eos."""
    speculation: Speculation = "auto"
    """Tokens to propose from earlier text and check in one pass (full context only); changes no
    sampled token. auto fits the proposals to the batch, off draws token by token."""

    @model_validator(mode="after")
    def _one_kind_of_prompt(self) -> Self:
        if self.prompt and self.prompts is not None:
            raise PydanticCustomError("prompts", "null where sampling.prompt is given")
        return self

    @model_validator(mode="after")
    def _least_within_most(self) -> Self:
        if self.min_new_tokens > self.max_new_tokens:
            raise PydanticCustomError(
                "min_new_tokens",
                "at most sampling.max_new_tokens ({tokens})",
                {"tokens": self.max_new_tokens},
            )
        return self


class ScheduleConfig(Section):
    """How the learning rate changes from update to update."""

    kind: Literal["constant", "linear", "cosine", "inverse_sqrt"] = "constant"
    """constant: the rate itself. linear and cosine: down to the share `final` of it at update
    `updates`, and there from then on. inverse_sqrt: as one over the square root of the update."""
    warmup: Int = Field(default=0, ge=0)
    """Updates over which the rate first rises from 0, evenly."""
    updates: Int | None = Field(default=None, ge=1)
    """Length of linear and cosine, warm-up included. A key of its own, so that a run that is
    extended by run.max_updates stays the run that it was. Under the source generations the schedule
    begins anew with each of them, and null is the length of each."""
    final: Share = 0.0
    """Share of the rate that is left at the end of linear and cosine."""

    @model_validator(mode="after")
    def _has_its_length(self) -> Self:
        if self._ends and self.updates is not None and self.updates <= self.warmup:
            told = {"kind": self.kind, "warmup": self.warmup}
            raise PydanticCustomError("schedule", "updates above {warmup} for {kind}", told)
        return self

    @property
    def _ends(self) -> bool:
        return self.kind in {"linear", "cosine"}

    @property
    def needs_length(self) -> bool:
        """True where the length is left to the source."""
        return self._ends and self.updates is None

    @property
    def moves_the_rate(self) -> bool:
        """False where each update has the rate itself."""
        return self.kind != "constant" or self.warmup > 0


class EmaConfig(Section):
    """An exponential moving average of the weights, from those of the base model on."""

    decay: Share
    """Share of the average that an update leaves; the rest are the weights after its steps."""
    sample: bool = True
    """true: samples, probes, evaluation and export are of the averaged weights, and only the steps
    are taken on the others. false: the averaged weights are evaluated beside these."""


class LoraConfig(Section):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685): only they are trained."""

    rank: Int = Field(ge=1)
    """Columns of the two factors whose product is added to a weight."""
    alpha: Float = Field(default=16.0, gt=0)
    """The product is multiplied by alpha / rank."""
    targets: Names | None = None
    """Layers by the last parts of their names (q_proj, or mlp.up_proj); null: all linear layers but
    the head."""
    dropout: Share = 0.0
    """Share of an adapter's input that is dropped in steps; read only with training.dropout."""


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
    start_token: Literal["first", "every"] = "first"
    """first: only the first window begins with the model's start token, and a later one with the
    token before its first. every: each window begins with the start token in that token's place."""
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
    degenerate_share: Float = Field(default=0.5, gt=0, le=1)
    """A probe of several samples is degenerate when at least this share of them is; read only with
    several."""
    patience: Int = Field(default=5, ge=1)
    """Degenerate probes in a row that make a collapse; its update is the first of them. As many
    probes, or evaluations, in a row enter and leave any other state."""
    drift: Float = Field(default=0.5, gt=0, json_schema_extra=OBSERVES)
    """State drift: the validation loss of the first corpus is above the base model's by more than
    this (nats per token), or so is the KL divergence at fixed prefixes (measure prefixes)."""
    overlap: Float = Field(default=0.5, gt=0, le=1, json_schema_extra=OBSERVES)
    """State mode: of the 4-grams that would be new if the base model spoke, at least this share is
    known from the last five probes (pool.overlap)."""
    distinct: Float = Field(default=0.6, gt=0, lt=1, json_schema_extra=OBSERVES)
    """... or the share of different n-grams in the last five probes (pool.distinct_N) is at most
    this share of the base model's."""
    low_entropy: Float = Field(default=0.5, gt=0, lt=1, json_schema_extra=OBSERVES)
    """... or the entropy of the probe is below this share of the base model's."""
    high_entropy: Float = Field(default=0.5, gt=0, json_schema_extra=OBSERVES)
    """State noise: the entropy of the probe is above the base model's by more than this (nats),
    while the validation loss is up by more than `drift` (where it is not known: the divergence)."""
    short: Float = Field(default=0.15, gt=0, lt=1, json_schema_extra=OBSERVES)
    """State shrink: the samples have less than this share of the tokens of the base model's; seen
    only under sampling.stop_at_eos."""


class CollapseConfig(CollapseRule):
    """The collapse rule, and what a run does once it is met."""

    base_samples: Int = Field(default=0, ge=0)
    """Samples of the base model that are drawn before the first update, for the levels that states
    are relative to; levels of the last five probes need more than five probes' worth. 0: the levels
    of the first probes stand for them."""
    stop: bool = True
    """End the run once the rule is met; false goes on to run.max_updates."""
    aftermath: Int = Field(default=0, ge=0)
    """Updates to go on for after the rule is met, to see what a collapsed model does."""
    aftermath_dose: Float | None = Field(default=None, ge=0)
    """Dose (sum of learning rates) to go on for as well, so that a low rate is watched as long as a
    high one; the later of the two ends counts. null: none."""


class RunConfig(Section):
    """The length of a run, and what it leaves beside its record."""

    max_updates: Int = Field(default=1000, ge=0, json_schema_extra=OBSERVES)
    """Largest number of updates; a run that gets here without a collapse is censored."""
    max_minutes: Float | None = Field(default=None, gt=0, json_schema_extra=OBSERVES)
    """Wall time after which a run ends with the update that it is at, in minutes over all its
    processes (one that was killed counts for nothing); it is then censored, keeps a checkpoint, and
    can be extended. null: no limit."""
    checkpoint_every: CheckpointEvery = Field(default="auto", json_schema_extra=OBSERVES)
    """Updates between checkpoints. auto: as often as costs at most 4 % of the time. off: never, so
    that a resumed run begins again."""
    checkpoints_kept: Int = Field(default=2, ge=0, json_schema_extra=OBSERVES)
    """Checkpoints kept while a run goes on (at least one). A censored run that has ended keeps its
    newest, so that it can be extended, unless this is 0; others keep none."""
    threads: Threads = Field(default="auto", json_schema_extra=OBSERVES)
    """Threads of torch on a CPU. auto: all, or fewer where these are clearly faster beside what
    else runs as the run begins, which is tried for a second. A resume takes what it began with."""
    export_model: bool = Field(default=False, json_schema_extra=OBSERVES)
    """Save the final weights in RUN/model, in the hub's layout, for transformers."""
    report: bool = Field(default=True, json_schema_extra=OBSERVES)
    """Write report.html at the end: one page, with curves and samples, that needs no network. The
    runs of a sweep write none, unless it sets this; the sweep has one as a whole."""
    trackers: Trackers = Field(default=(), json_schema_extra=OBSERVES)
    """Trackers that are told every row, the samples, figures and alerts: wandb, trackio,
    tensorboard, each by the extra of its name. One that fails or hangs is told once, and stops
    nothing."""
