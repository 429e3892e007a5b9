"""Draw a batch of samples from a model: prompt and uniforms in, token ids out.

Position t of a sample is the token that u_t picks from the model's distribution
given all before it. Speculation feeds proposed tokens along with the last known one
and takes them over as long as they are what u_t picks: the same tokens, in fewer
passes.

Shapes: B samples, P prompt tokens, T new tokens, R tokens of one pass, V vocabulary.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from collapse_lm.inference import Network
from collapse_lm.sampling.inverse_cdf import (
    Choices,
    Filters,
    choices,
    entropy,
    log_probabilities,
    penalised,
)
from collapse_lm.sampling.sliding import SlidingDecoder
from collapse_lm.sampling.speculation import DraftedSequence, Drafter


@dataclass(frozen=True)
class Draw:
    """The samples of one update.

    Attributes:
        prompts: token ids of the context before each sample.
        samples: token ids of each sample, the prompt excluded.
        log_probs: log p (nats) of each token of each sample, at temperature 1 and
            unfiltered.
        entropies: predictive entropy (nats) of the model where it drew each token, likewise.
        entropy: mean of them over all drawn positions.
        sampling_entropy: mean entropy (nats) of the distributions that the tokens were
            drawn from, after temperature and filters.
        top1: mean probability of the model's likeliest token over all drawn positions, at
            temperature 1 and unfiltered.
        forward_passes: passes through the model, the one over the prompt included.
        log_prob_seconds: wall time that `log_probs` took.
    """

    prompts: tuple[tuple[int, ...], ...]
    samples: tuple[tuple[int, ...], ...]
    log_probs: tuple[tuple[float, ...], ...]
    entropies: tuple[tuple[float, ...], ...]
    entropy: float
    sampling_entropy: float
    top1: float
    forward_passes: int
    log_prob_seconds: float

    @property
    def tokens(self) -> int:
        """Sampled tokens of all samples together."""
        return sum(len(sample) for sample in self.samples)


class Growing:
    """One sample as it grows: its tokens, its uniforms, its proposals."""

    def __init__(
        self,
        uniform_T: Tensor,
        filters: Filters,
        stop_tokens: Collection[int],
        drafter: Drafter | None,
        least: int = 0,
        prompt: Sequence[int] = (),
    ) -> None:
        self.ids: list[int] = []
        self.entropies: list[Tensor] = []
        self.sampling_entropies: list[Tensor] = []
        self.log_probs: list[Tensor] = []
        self.tops: list[Tensor] = []  # log-probability of the likeliest token
        self.seconds = 0.0  # of the log-probabilities
        self.length = len(uniform_T)
        self._uniform_T = uniform_T
        self._filters = filters
        self._stop_tokens = stop_tokens
        self._least = least if stop_tokens else 0
        self._prompt = tuple(prompt)
        self._early = replace(filters, excluded=(*filters.excluded, *stop_tokens))
        self._drafted: DraftedSequence | None = drafter.sequence() if drafter else None

    @property
    def told(self) -> tuple[list[Tensor], ...]:
        """What is noted of each token."""
        return self.entropies, self.sampling_entropies, self.log_probs, self.tops

    @property
    def is_done(self) -> bool:
        """True once the sample has its length or its stop token."""
        ended = bool(self.ids) and self.ids[-1] in self._stop_tokens
        return ended or len(self.ids) == self.length

    def propose(self) -> list[int]:
        """Propose tokens to feed after the last one; none past the end."""
        if self._drafted is None or self.is_done:
            return []
        return self._drafted.propose(self.length - len(self.ids) - 1)

    def take(self, logits_RV: Tensor, proposed: Sequence[int]) -> int:
        """Pick tokens row by row while the proposals hold; return how many were picked."""
        picked = 0
        for row in range(len(proposed) + 1):
            among = choices(self.penalised(logits_RV[row])[None], self.next_filters())
            self.ids.append(int(among.pick(self.next_uniform()[None])))
            self._describe(logits_RV[row], self.ids[-1], among)
            if self._drafted is not None:
                self._drafted.extend(self.ids[-1])
            picked += 1
            if self.is_done or row == len(proposed) or proposed[row] != self.ids[-1]:
                break
        if self._drafted is not None:
            self._drafted.tell(len(proposed), picked - 1)
        return picked

    def next_filters(self) -> Filters:
        """What the next token is drawn from."""
        return self._early if len(self.ids) < self._least else self._filters

    @property
    def penalises(self) -> bool:
        """True where tokens that were there before are less likely to come again."""
        return self._filters.repetition_penalty != 1

    def penalised(self, logits_V: Tensor) -> Tensor:
        """The logits of the next token, those of tokens so far (prompt included) less likely."""
        if not self.penalises:
            return logits_V
        return penalised(logits_V, [*self._prompt, *self.ids], self._filters.repetition_penalty)

    def next_uniform(self) -> Tensor:
        """The number that picks the next token, shape ()."""
        return self._uniform_T[len(self.ids)]

    def _describe(self, logits_V: Tensor, token: int, among: Choices) -> None:
        """Note the entropies of the distribution and the log-probability of what was picked."""
        log_p_V = log_probabilities(logits_V)
        self.entropies.append(entropy(log_p_V))
        self.sampling_entropies.append(among.entropy().squeeze(0))
        self.tops.append(log_p_V.amax())
        begin = time.perf_counter()
        self.log_probs.append(log_p_V[token])
        self.seconds += time.perf_counter() - begin


def sample(
    network: Network,
    prompt: Sequence[int] | Sequence[Sequence[int]],
    uniform_BT: Tensor,
    filters: Filters,
    *,
    block_size: int | None = None,
    stop_token: int | Collection[int] | None = None,
    least_tokens: int = 0,
    drafter: Drafter | None = None,
    learns: bool = True,
) -> Draw:
    """Draw B samples of up to T tokens, one uniform per position.

    Args:
        network: the model, as `inference_network` returns it.
        prompt: at least one token id: the same context for every sample, or a context for
            each of them.
        uniform_BT: float64 numbers in [0, 1) on the CPU, one per sample and position.
        filters: of the distribution.
        block_size: sliding context of this many tokens; None lets every token see all.
        stop_token: ends a sample (and is its last token), or any of several does; None runs
            all to T.
        least_tokens: tokens of a sample among which the stop token is not drawn.
        drafter: proposes tokens (full context only); it learns the samples drawn. None
            draws token by token.
        learns: False leaves what the drafter knows as it is.
    """
    uniform_BT = uniform_BT.to(network.device)
    stops = (stop_token,) if isinstance(stop_token, int) else tuple(stop_token or ())
    prompts = _one_for_each(prompt, len(uniform_BT))
    rows = [
        Growing(one_T, filters, stops, drafter, least_tokens, own)
        for one_T, own in zip(uniform_BT, prompts, strict=True)
    ]
    passes = 0
    for part in _together(network, prompts, is_drafted=drafter is not None, block=block_size):
        own = [prompts[b] for b in part]
        if block_size is not None:
            passes += _slide(network, own, [rows[b] for b in part], block_size)
        else:
            passes += _decode(network, own, [rows[b] for b in part], drafter)
    for row in rows:
        if drafter is not None and learns:
            drafter.learn(row.ids)
    return _gather(prompts, rows, passes)


def _take_together(rows: Sequence[Growing], logits_BV: Tensor) -> None:
    """Pick the next token of samples of one length, as `Growing.take` does of one.

    Args:
        rows: all samples; those that are done get none.
        logits_BV: of each.
    """
    growing = [b for b, row in enumerate(rows) if not row.is_done]
    if len(growing) < len(rows):
        logits_BV = logits_BV[growing]
    rows = [rows[b] for b in growing]
    among = choices(_all_penalised(rows, logits_BV), rows[0].next_filters())
    picked_B = among.pick(torch.stack([row.next_uniform() for row in rows]))
    log_p_BV = log_probabilities(logits_BV)
    begin = time.perf_counter()
    log_probs_B = log_p_BV.gather(-1, picked_B[:, None]).squeeze(-1)
    rows[0].seconds += time.perf_counter() - begin
    found = (entropy(log_p_BV), among.entropy(), log_probs_B, log_p_BV.amax(dim=-1))
    parts = zip(*(values_B.unbind() for values_B in found), strict=True)
    for row, token, part in zip(rows, picked_B.tolist(), parts, strict=True):
        row.ids.append(token)
        for values, value in zip(row.told, part, strict=True):
            values.append(value)


def _all_penalised(rows: Sequence[Growing], logits_BV: Tensor) -> Tensor:
    if not rows[0].penalises:
        return logits_BV
    return torch.stack([row.penalised(own) for row, own in zip(rows, logits_BV, strict=True)])


def _one_for_each(prompt: Sequence[int] | Sequence[Sequence[int]], rows: int) -> list[list[int]]:
    """The prompt of each sample."""
    several = [part for part in prompt if not isinstance(part, int)]
    if not several:
        return [[int(token) for token in prompt] for _ in range(rows)]  # type: ignore[arg-type]
    return [list(part) for part in several]


def _together(
    network: Network, prompts: Sequence[list[int]], *, is_drafted: bool, block: int | None
) -> list[list[int]]:
    """The samples that share a pass: all of them, or where lengths must not differ each alone."""
    everyone = list(range(len(prompts)))
    is_even = len({len(prompt) for prompt in prompts}) == 1
    may_differ = network.takes_ragged and block is None
    if may_differ or (is_even and not is_drafted):
        return [everyone]
    return [[b] for b in everyone]


def _gather(prompts: Sequence[list[int]], rows: Sequence[Growing], passes: int) -> Draw:
    begin = time.perf_counter()
    log_probs = tuple(tuple(torch.stack(row.log_probs).tolist()) for row in rows)
    seconds = time.perf_counter() - begin + sum(row.seconds for row in rows)
    return Draw(
        prompts=tuple(map(tuple, prompts)),
        samples=tuple(tuple(row.ids) for row in rows),
        log_probs=log_probs,
        entropies=tuple(tuple(torch.stack(row.entropies).tolist()) for row in rows),
        entropy=_mean([value for row in rows for value in row.entropies]),
        sampling_entropy=_mean([value for row in rows for value in row.sampling_entropies]),
        top1=float(torch.stack([v for row in rows for v in row.tops]).double().exp().mean()),
        forward_passes=passes,
        log_prob_seconds=seconds,
    )


def _mean(values: Sequence[Tensor]) -> float:
    return float(torch.stack(list(values)).double().mean())


def _decode(
    network: Network, prompts: Sequence[list[int]], rows: Sequence[Growing], drafter: Drafter | None
) -> int:
    """Grow the samples under one cache; return the number of passes."""
    longest = drafter.longest_draft if drafter else 0
    cache = network.new_cache(len(rows), max(map(len, prompts)) + rows[0].length + longest + 1)
    held = [0] * len(rows)  # tokens of each sequence that stand in the cache
    drafts: list[list[int]] = [[] for _ in rows]
    feeds = [list(prompt) for prompt in prompts]
    passes = 0
    while not all(row.is_done for row in rows):
        width = max(len(feed) for feed in feeds)
        padded = [feed + [0] * (width - len(feed)) for feed in feeds]
        hidden_BRD = network.hidden(torch.tensor(padded, device=network.device), cache)
        passes += 1
        known = [len(feed) - len(draft) for feed, draft in zip(feeds, drafts, strict=True)]
        logits_NV = _checked_logits(network, hidden_BRD, known, feeds)
        if drafter is None:  # those that are done go along, so that all keep one length
            _take_together(rows, logits_NV)
            held = [before + new for before, new in zip(held, known, strict=True)]
        logits = torch.split(logits_NV, [len(draft) + 1 for draft in drafts])
        for b, row in enumerate(rows):
            if drafter is not None and not row.is_done:
                held[b] += known[b] + row.take(logits[b], drafts[b]) - 1
            drafts[b] = row.propose()
            feeds[b] = [row.ids[-1], *drafts[b]]
        cache.rewind(held)
    return passes


def _checked_logits(
    network: Network, hidden_BRD: Tensor, known: Sequence[int], feeds: Sequence[Sequence[int]]
) -> Tensor:
    """Logits (N, V) of all sequences from the last known token of each on, by one pass."""
    parts = [hidden_BRD[b, k - 1 : len(feeds[b])] for b, k in enumerate(known)]
    return network.logits(torch.cat(parts))


def _slide(
    network: Network, prompts: Sequence[list[int]], rows: Sequence[Growing], block_size: int
) -> int:
    """Grow the samples under a sliding context; return the number of passes."""
    decoder = SlidingDecoder(network, len(rows), block_size)
    new_BR = torch.tensor(list(prompts), device=network.device)
    while not all(row.is_done for row in rows):
        _take_together(rows, decoder.append(new_BR))
        new_BR = torch.tensor([[row.ids[-1]] for row in rows], device=network.device)
    return decoder.passes
