"""The configuration of a run: what each key means and which values it takes.

Every default is stated here once; a preset is a short diff over these. The
docstring under a field is its help text and its description in the JSON schema; keys
that decide no number of a run are marked `OBSERVES`. Within an identity version
(see `identity`) no default may change. Knows nothing of files, presets or the command
line (see `load`).
"""

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from collapse_lm.config.fields import OBSERVES, Float, Int, Section
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
from collapse_lm.config.precision import PrecisionConfig, word_or_phases
from collapse_lm.config.sections import (
    CollapseConfig,
    EmaConfig,
    EvaluationConfig,
    LoraConfig,
    ProbeConfig,
    RunConfig,
    SamplingConfig,
    ScheduleConfig,
)


class TrainingConfig(Section):
    """The optimizer step."""

    learning_rate: Float = Field(default=1e-4, ge=0)
    """Learning rate; constant unless `training.schedule` moves it. 0 is the control that must not
    change anything."""
    schedule: ScheduleConfig = ScheduleConfig()
    """How the learning rate changes from update to update."""
    optimizer: AnyOptimizer = AdamW()
    """Rule of the step: adamw (the paper's), sgd, krause, or one around another: fresh,
    random, decay_to_base."""
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
    dropout: bool = False
    """true: the steps drop at the model's own rates (from a stream of the run's seed); the train
    loss is then that of the network that dropped. Samples and evaluation never drop."""
    ema: EmaConfig | None = None
    """A moving average of the weights: decay, sample; null keeps none."""
    lora: LoraConfig | None = None
    """Adapters that are trained in place of the weights: rank, alpha, targets, dropout; null trains
    all weights."""


class Config(Section):
    """One configuration; with its seed it is one run."""

    seed: Int = Field(default=0, ge=0, lt=2**63)
    """Seed of every random stream of the run."""
    model: str = Field(default="smollm2-135m", min_length=1)
    """smollm2-135m (packaged), a name on the Hugging Face hub, a local folder in its layout, a
    small model that is trained where the cache does not hold it (ladder:128x4, ladder:128x4@SEED),
    or a toy with known answers (toy:unigram, toy:gaussian)."""
    precision: Annotated[PrecisionConfig, BeforeValidator(word_or_phases)] = PrecisionConfig()
    """Number formats by phase: sampling, training, evaluation; one word stands for all three."""
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$", json_schema_extra=OBSERVES
    )
    """auto (CUDA where there is a device, else the CPU), cpu, cuda, or cuda:N."""
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

    @model_validator(mode="after")
    def _schedule_has_its_length(self) -> Self:
        schedule = self.training.schedule
        if schedule.needs_length and not self.source.counts_updates:
            told = {"kind": schedule.kind, "warmup": schedule.warmup}
            raise PydanticCustomError("schedule", "updates above {warmup} for {kind}", told)
        return self

    @model_validator(mode="after")
    def _as_long_as_its_source(self) -> Self:
        updates = self.source.length(self.sampling.batch_size)
        if updates is not None:
            run = self.run.model_copy(update={"max_updates": updates})
            object.__setattr__(self, "run", run)  # the section is frozen for everyone else
        return self
