"""Texts under a model: how unlikely they are, and how undecided it is where they go on.

Shapes: B texts, T tokens of each, N positions, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from collapse_lm.audits.groups import Ids
from collapse_lm.audits.tokens import Tokens, core_of
from collapse_lm.config import resolve
from collapse_lm.experiment.ready import ready_model
from collapse_lm.measures.names import Number

TEXTS, TOKENS = 16, 256  # of a group that are scored, and of a text
_BATCH = 8
_ROWS = 256  # positions whose distributions are held at once


class Scorer:
    """A model that reads texts.

    Args:
        reference: of the model, as `load_model` takes it.

    Attributes:
        name: of the model.
        tokens: its tokenizer.

    Raises:
        UserError: for a model that cannot be had.
    """

    def __init__(self, reference: str) -> None:
        ready = ready_model(resolve({"model": reference}))
        self.name = reference
        self.tokens = Tokens(reference, core_of(reference, ready.model.tokenizer))
        self._network, self._start = ready.evaluator, ready.model.start_token
        self._most = min(TOKENS, (ready.model.max_positions or TOKENS + 1) - 1)

    @torch.inference_mode()
    def score(self, texts: Sequence[Ids]) -> dict[str, Number]:
        """Means over the tokens of some texts, each after the start token; nothing of none.

        Returns:
            `score.loss` (nats per token) and `score.entropy` (nats).
        """
        cut = [[*map(int, ids[: self._most])] for ids in texts[:TEXTS] if len(ids)]
        sums, count = torch.zeros(2, dtype=torch.float64), 0
        for first in range(0, len(cut), _BATCH):
            part = cut[first : first + _BATCH]
            sums += self._sums(part)
            count += sum(map(len, part))
        if not count:
            return {}
        loss, entropy = (sums / count).tolist()
        return {"score.loss": loss, "score.entropy": entropy}

    def _sums(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Sums over tokens: of - log p, and of entropies. What pads a text comes behind it."""
        longest = max(map(len, texts))
        ids_BT = torch.full((len(texts), longest + 1), self._start)
        for row, ids in enumerate(texts):
            ids_BT[row, 1 : len(ids) + 1] = torch.tensor(ids)
        is_text_BT = torch.arange(longest) < torch.tensor([len(ids) for ids in texts])[:, None]
        hidden_BTD = self._network.hidden(ids_BT[:, :-1].to(self._network.device))
        hidden_ND, targets_N = hidden_BTD.cpu()[is_text_BT], ids_BT[:, 1:][is_text_BT]
        total = torch.zeros(2, dtype=torch.float64)
        for rows_ND, ids_N in zip(
            torch.split(hidden_ND, _ROWS), torch.split(targets_N, _ROWS), strict=True
        ):
            logits_NV = self._network.logits(rows_ND.to(self._network.device))
            log_p_NV = logits_NV.double().log_softmax(-1).cpu()
            loss = -log_p_NV.gather(1, ids_N[:, None]).sum()
            total += torch.stack([loss, torch.special.entr(log_p_NV.exp()).sum()])
        return total
