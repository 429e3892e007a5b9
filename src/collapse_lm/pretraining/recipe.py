"""What a ladder of models is trained on and how; every default is stated here once.

Knows nothing of files, networks or the command line.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from collapse_lm.config.fields import Float, Int
from collapse_lm.config.keys import did_you_mean
from collapse_lm.errors import Problem, UserError

HEAD_WIDTH = 32  # of every size, so that sizes differ in width and depth alone
_LARGEST_WIDTH, _LARGEST_DEPTH = 2048, 64  # a slip of the keyboard ends here, not in the swap
_RATE_WIDTH = 64  # where the learning rate of a recipe holds as it is
_BYTES_AND_END = 257  # the smallest vocabulary: 256 bytes and the end of a text


@dataclass(frozen=True)
class Size:
    """Width of the hidden states and number of blocks; written WIDTHxDEPTH."""

    width: int
    depth: int

    @classmethod
    def parse(cls, name: str) -> "Size":
        """Read WIDTHxDEPTH; a ValueError says that it has another form."""
        found = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", name)
        if found is None:
            raise ValueError(name)
        return cls(int(found[1]), int(found[2]))

    @property
    def heads(self) -> int:
        """Attention heads."""
        return self.width // HEAD_WIDTH

    def __str__(self) -> str:
        return f"{self.width}x{self.depth}"


def _check_size(name: str) -> str:
    try:
        size = Size.parse(name)
    except ValueError:
        raise PydanticCustomError("size", "WIDTHxDEPTH, such as 128x4") from None
    if size.width % HEAD_WIDTH or size.width > _LARGEST_WIDTH:
        limits = {"multiple": HEAD_WIDTH, "limit": _LARGEST_WIDTH}
        raise PydanticCustomError("width", "a width of {multiple}, 64, ... {limit}", limits)
    if size.depth > _LARGEST_DEPTH:
        raise PydanticCustomError("depth", "a depth of 1 to {limit}", {"limit": _LARGEST_DEPTH})
    return name


def _split(value: object) -> object:
    """Read a list from a command line: 64x2,128x4."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _check_distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise PydanticCustomError("distinct", "each size once")
    return names


SizeName = Annotated[str, AfterValidator(_check_size)]
SizeNames = Annotated[
    tuple[SizeName, ...],
    BeforeValidator(_split),
    Field(min_length=1),
    AfterValidator(_check_distinct),
]


class Recipe(BaseModel):
    """A ladder: models of several sizes on the same tokens in the same order."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    corpus: str = "sotu-train"
    """Text to learn: a name (`collapse-lm corpora`) or text:PATH."""
    held_out: str | None = None
    """Corpus of the held-out loss. null: sotu for sotu-train; of any other corpus its last
    twentieth, which is then not learned."""
    sizes: SizeNames = ("32x2", "64x3", "128x4", "192x4", "256x5")
    """WIDTHxDEPTH of each model, widths in multiples of 32 (the width of an attention head)."""
    vocabulary: Int = Field(default=4096, ge=_BYTES_AND_END, le=65536)
    """Tokens of the byte-level BPE that is trained on the same text, its end-of-text token
    included; a short text may have fewer."""
    context: Int = Field(default=256, ge=2, le=8192)
    """Tokens of a training window, and positions of the models."""
    tokens: Int = Field(default=1_966_080, ge=1)
    """Tokens that each model learns, in whole batches."""
    batch: Int = Field(default=8, ge=1)
    """Windows per optimizer step."""
    learning_rate: Float = Field(default=3e-3, gt=0)
    """Peak learning rate of AdamW at width 64."""
    width_power: Float = Field(default=0.5, ge=0, le=1)
    """A size of another width peaks at learning_rate x (64 / width) to this power: wide models
    take smaller steps. 0 is the same peak for each size."""
    warmup: Float = Field(default=0.05, ge=0, le=1)
    """Share of the steps over which the learning rate rises linearly to its peak."""
    final_rate: Float = Field(default=0.1, ge=0, le=1)
    """Share of the peak at which the cosine after the warmup ends."""
    beta_1: Float = Field(default=0.9, ge=0, lt=1)
    """AdamW's decay rate of the first moment."""
    beta_2: Float = Field(default=0.95, ge=0, lt=1)
    """AdamW's decay rate of the second moment."""
    weight_decay: Float = Field(default=0.1, ge=0)
    """Decoupled weight decay, on tensors of two or more dimensions only."""
    grad_clip: Float = Field(default=1.0, gt=0)
    """Largest gradient norm (L2, over all parameters)."""
    seed: Int = Field(default=0, ge=0, lt=2**63)
    """Seed of the initial weights and of the order of the windows."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the forward pass; weights are float32. auto: bfloat16 where the hardware has it."""

    @property
    def ladder(self) -> tuple[Size, ...]:
        """The sizes, read."""
        return tuple(Size.parse(name) for name in self.sizes)

    @property
    def steps(self) -> int:
        """Optimizer steps: whole batches nearest to `tokens`, at least one."""
        return max(1, round(self.tokens / (self.batch * self.context)))

    @property
    def trained_tokens(self) -> int:
        """Tokens that each model learns: `steps` batches of `batch` windows."""
        return self.steps * self.batch * self.context

    def peak_rate(self, size: Size) -> float:
        """Peak learning rate of a size."""
        return float(self.learning_rate * (_RATE_WIDTH / size.width) ** self.width_power)

    @property
    def warmup_steps(self) -> int:
        """Steps of the linear rise."""
        return round(self.warmup * self.steps)


def read_recipe(
    values: Mapping[str, Any], settings: Iterable[str] = ()
) -> tuple[Recipe, list[Problem]]:
    """Validate values and ``key=value`` settings, which win.

    Returns:
        The recipe, with the default in place of what is wrong, and every mistake.
    """
    tree, problems = dict(values), list[Problem]()
    for setting in settings:
        key, separator, raw = setting.partition("=")
        if separator and key.strip():
            tree[key.strip()] = _value(raw)
        else:
            problems.append(Problem("--set", setting, "key=value", "--set learning_rate=1e-3"))
    try:
        return Recipe.model_validate(tree), problems
    except ValidationError as error:
        found = error.errors()
    wrong = {str(details["loc"][0]) for details in found}
    sound = Recipe.model_validate({key: tree[key] for key in tree if key not in wrong})
    return sound, [*problems, *map(_problem, found)]


def require_recipe(values: Mapping[str, Any], settings: Iterable[str] = ()) -> Recipe:
    """Validate values and settings.

    Raises:
        UserError: holding every mistake.
    """
    recipe, problems = read_recipe(values, settings)
    if problems:
        raise UserError(problems)
    return recipe


def _value(raw: str) -> Any:
    """Read a value: `null` is none, and pydantic takes numbers from their text."""
    return None if raw.strip() in {"", "null"} else raw


def _problem(details: ErrorDetails) -> Problem:
    """Translate one pydantic error into got / expected / fix."""
    key = str(details["loc"][0])
    if details["type"] == "extra_forbidden":
        fix = did_you_mean(key, list(Recipe.model_fields))
        return Problem(key, "an unknown key", f"one of {', '.join(Recipe.model_fields)}", fix)
    got = repr(details["input"])
    expected = details["msg"].removeprefix("Input should be ")
    help_text = " ".join((Recipe.model_fields[key].description or "").split())
    return Problem(key, got if len(got) <= 80 else got[:77] + "...", expected, help_text or None)
