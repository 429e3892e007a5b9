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
    "validation.word_perplexity_eos": Name(
        "number",
        "",
        "as validation.word_perplexity, with the end of each line as one more word: the custom for "
        f"Penn Treebank and WikiText-2; only for a corpus of the form `<unk>`{PER_CORPUS}",
        since=2,
    ),
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
        "standard error of the change about that on the full split: of windows that move as "
        "wholes, or of blocks of at most 64 tokens as if they were independent, the larger one; "
        f"0 where all is scored, NaN with a single window or fewer than 30 blocks{PER_CORPUS}",
        since=2,
    ),
    "ema.loss": Name(
        "number",
        "nats/token",
        "as validation.loss, of the averaged weights where samples are of the others "
        f"(training.ema with sample: false){PER_CORPUS}",
        since=2,
    ),
    "overlap": Name(
        "number",
        "",
        "share of the different n-grams of the probe that stood in the last one measured (measure "
        "overlap; in any of the last K with last: K, and the label is then `N, last K`)"
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
    "prefix.kl": Name(
        "number",
        "nats",
        "mean KL(base model, model now) of the next token at fixed prefixes of a human text, over "
        "the full vocabulary (measure prefixes)",
        since=2,
    ),
    "prefix.kl_reverse": Name(
        "number",
        "nats",
        "as prefix.kl, the other way: KL(model now, base model)",
        since=2,
    ),
    "prefix.entropy": Name("number", "nats", "mean predictive entropy at these prefixes", since=2),
    "prefix.effective_vocabulary": Name(
        "number",
        "tokens",
        "exp of prefix.entropy: equally likely tokens with that entropy",
        since=2,
    ),
    "prefix.top1": Name(
        "number", "", "mean probability of the likeliest token at these prefixes", since=2
    ),
    "types.rare_share": Name(
        "number",
        "",
        "of the different token ids in the last five probes measured, the share that is not among "
        "the most frequent of a human text (measure types)",
        since=2,
    ),
    "types.zipf_slope": Name(
        "number",
        "",
        "slope of log frequency over log rank of these ids, by least squares; NaN with a single id",
        since=2,
    ),
    "drift": Name(
        "number",
        "",
        "as drift.total, of a group of weights: embeddings (with a head that is tied to them), "
        f"attention, mlp, norms, head, other{PER_GROUP}",
        since=2,
    ),
    "drift.total": Name(
        "number",
        "",
        "L2 distance of the weights from those of the base model, over the L2 norm of these "
        "(measure drift)",
        since=2,
    ),
    "drift.step": Name(
        "number",
        "",
        "L2 norm of what the update changed in the weights, over their L2 norm before it; absent "
        "at an end that is off schedule",
        since=2,
    ),
}
