"""What the numbers of the model after a step mean; `names` has the others. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Name:
    """What a name means.

    Attributes:
        kind: number, count or flag (0 or 1).
        unit: of the number; empty where it has none.
        meaning: in a sentence.
        since: format of the run directory that first had it.
    """

    kind: str
    unit: str
    meaning: str
    since: int = 1


PER_CORPUS, PER_LENGTH, PER_GROUP = "; a value per corpus", "; a value per n", "; a value per group"
LABELS = {PER_CORPUS: "CORPUS", PER_LENGTH: "N", PER_GROUP: "GROUP"}
MODEL_NAMES: dict[str, Name] = {
    "validation.loss": Name("number", "nats/token", f"mean -log p on real text{PER_CORPUS}"),
    "validation.perplexity": Name("number", "", f"exp of the validation loss{PER_CORPUS}"),
    "validation.bits_per_byte": Name("number", "bits/byte", f"-log2 p per UTF-8 byte{PER_CORPUS}"),
    "validation.word_perplexity": Name("number", "", f"exp of -log p per word{PER_CORPUS}"),
    "validation.tokens": Name("count", "tokens", f"tokens scored{PER_CORPUS}"),
    "validation.change": Name(
        "number",
        "nats/token",
        f"validation loss minus that of the base model on the same tokens{PER_CORPUS}",
        since=2,
    ),
    "validation.change_se": Name(
        "number",
        "nats/token",
        "standard error of the change about that on the full split, from blocks of at most 64 "
        "tokens as if they were independent (neighbours are not quite: a lower limit); "
        f"0 where all is scored, NaN with fewer than 30 blocks{PER_CORPUS}",
        since=2,
    ),
    "overlap": Name(
        "number",
        "",
        f"share of the n-grams of the probe that stood in the last one measured (measure overlap)"
        f"{PER_LENGTH}",
        since=2,
    ),
    "base.loss": Name(
        "number",
        "nats/token",
        "mean negative log-likelihood of the probe under the base model, at temperature 1 and "
        "unfiltered (measure base_log_probability)",
        since=2,
    ),
    "base.log_ratio": Name(
        "number",
        "nats/token",
        "base.loss minus the loss of the probe under the model that drew it: mean log p of its "
        "tokens under that model minus that under the base model; an estimate of KL(model, base) "
        "only where tokens are drawn at temperature 1 and unfiltered; of update 1 it is rounding "
        "alone",
        since=2,
    ),
    "base.kl": Name(
        "number",
        "nats/token",
        "base.loss minus the sampling entropy: an estimate, from the tokens drawn, of KL(q, base), "
        "q what they were drawn from, after temperature and filters; not 0 for the base model "
        "itself unless that is its own distribution",
        since=2,
    ),
}
