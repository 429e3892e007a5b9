"""Decoding passes of GPT-2 and Llama in one call of machine code each.

The weights are a bfloat16 copy, or a float32 one. In float32, and where the hardware
multiplies bfloat16, passes without a cache (evaluation, a sliding context) and losses are
those of `FastNetwork`, whose copy of the weights is read here in place; elsewhere they run
here too.

Shapes: B sequences, R new tokens, N = B x R rows, D width, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor

from collapse_lm.inference.architectures import Architecture, Block
from collapse_lm.inference.base import Cache
from collapse_lm.inference.cache import Positions
from collapse_lm.inference.cpu import arguments as at
from collapse_lm.inference.cpu import whole_pass
from collapse_lm.inference.cpu.passes import NUMBERS, compile_ahead, matrix_product, run_pass
from collapse_lm.inference.cpu.requirements import LANES
from collapse_lm.inference.linear import CopyLinear, SplitLinear, chunked_nll
from collapse_lm.inference.written_out import FastNetwork
from collapse_lm.machine.compute import has_bfloat16


class PassCache:
    """Keys and values of B sequences in float32, in the layout that the kernels read."""

    def __init__(self, batch: int, capacity: int, layers: int, heads: int, width: int) -> None:
        self.capacity = -(-capacity // LANES) * LANES
        self.batch = batch
        self.lengths = [0] * batch
        self.keys = torch.zeros(layers, batch, heads, width, self.capacity, **NUMBERS)
        self.values = torch.zeros(layers, batch, heads, self.capacity, width, **NUMBERS)

    def rewind(self, lengths: Sequence[int]) -> None:
        """Keep only the first `lengths[b]` tokens of sequence b."""
        self.lengths = list(lengths)


class CompiledNetwork:
    """A `Network` that decodes on the kernels, for what `requirements.can_run` takes."""

    takes_ragged = True
    can_rewind = True
    is_row_exact = True

    def __init__(self, architecture: Architecture) -> None:
        assert isinstance(architecture.head, (CopyLinear, SplitLinear))
        self._arch = architecture
        self._head_VD = architecture.head.weight_OK
        self._eager = FastNetwork(architecture)
        self._spare: PassCache | None = None
        self._dtype = self._head_VD.dtype
        is_float32 = self._dtype == torch.float32
        self._is_eager = is_float32 or has_bfloat16(self.device)  # without a cache
        self._scratch = torch.empty(0, **NUMBERS)
        self._eps = torch.tensor([architecture.norm_f.eps], **NUMBERS)
        addresses = [_addresses(part) for part in architecture.blocks]
        self._table = torch.tensor(addresses, dtype=torch.int64, device="cpu")
        compile_ahead()

    @property
    def device(self) -> torch.device:
        """Where it computes: the CPU."""
        return self._eager.device

    def describe(self) -> Mapping[str, str | bool]:
        """How it works, for the manifest."""
        return {**self._eager.describe(), "passes": "machine code"}

    def new_cache(self, batch: int, capacity: int) -> Cache:
        """Return an empty cache; the last one is used again where it is large enough."""
        spare = self._spare
        if spare is None or spare.batch != batch or spare.capacity < capacity:
            spare = self._spare = self._fresh_cache(batch, capacity)
        spare.rewind([0] * batch)
        return spare

    def _fresh_cache(self, batch: int, capacity: int) -> PassCache:
        arch = self._arch
        return PassCache(batch, capacity, len(arch.blocks), arch.kv_heads, arch.head_width)

    @torch.inference_mode()
    def hidden(self, ids_BR: Tensor, cache: Cache | None = None, last: int = 0) -> Tensor:
        """Feed tokens; return the last hidden states (B, R, D), or of the `last` alone.

        They are float32 with a cache; without one they may be bfloat16.

        Raises:
            IndexError: where a token would stand past the capacity of the cache.
        """
        if cache is None and self._is_eager:
            return self._eager.hidden(ids_BR, last=last)
        cache = self._fresh_cache(*ids_BR.shape) if cache is None else cache
        assert isinstance(cache, PassCache)
        batch, new = ids_BR.shape
        positions = Positions(cache.lengths, new, ids_BR.device)
        if positions.end > cache.capacity or batch != cache.batch:
            raise IndexError(
                f"{batch} sequences of {positions.end} tokens do not fit a cache of "
                f"{cache.batch} sequences of {cache.capacity}"
            )
        x_ND = self._arch.embed(ids_BR, positions, torch.float32)
        sequence_N = torch.arange(batch, device="cpu").repeat_interleave(new)
        position_N = positions.index_BR.flatten()
        a = self._arguments(x_ND, positions, cache)
        a[at.SEQUENCE], a[at.POSITION] = sequence_N.data_ptr(), position_N.data_ptr()
        self._lend_scratch(a)
        run_pass(a)
        cache.rewind([length + new for length in cache.lengths])
        return x_ND.view(*ids_BR.shape, -1)[:, -last:]

    def _arguments(self, x_ND: Tensor, positions: Positions, cache: PassCache) -> list[int]:
        """What a pass over rows x needs to know, but for the rows' places and its scratch."""
        arch, (rows, width) = self._arch, x_ND.shape
        part = arch.blocks[0]
        cos_Nr, sin_Nr = positions.rope or (self._eps, self._eps)
        a = [0] * at.ARGUMENTS
        a[at.ROWS], a[at.NEW], a[at.BATCH] = rows, positions.new, len(positions.starts)
        a[at.WIDTH], a[at.INNER] = width, part.down.inputs
        a[at.HEADS], a[at.KV_HEADS] = part.out.inputs // arch.head_width, arch.kv_heads
        a[at.HEAD_WIDTH], a[at.LAYERS] = arch.head_width, len(arch.blocks)
        a[at.IS_GATED] = int(positions.rope is not None)
        a[at.WEIGHT_BYTES] = self._dtype.itemsize
        a[at.EPS], a[at.X] = self._eps.data_ptr(), x_ND.data_ptr()
        a[at.COS], a[at.SIN] = cos_Nr.data_ptr(), sin_Nr.data_ptr()
        a[at.CAPACITY] = cache.capacity
        a[at.KEYS], a[at.VALUES] = cache.keys.data_ptr(), cache.values.data_ptr()
        a[at.NORM_WEIGHT], a[at.NORM_BIAS] = _norm_addresses(arch.norm_f.masters)
        a[at.TABLE] = self._table.data_ptr()
        return a

    def _lend_scratch(self, a: list[int]) -> None:
        """Give a pass its scratch; it is kept from pass to pass."""
        part, rows = self._arch.blocks[0], a[at.ROWS]
        sizes = (rows, a[at.WIDTH], a[at.INNER], a[at.HEAD_WIDTH], a[at.CAPACITY])
        private = whole_pass.private_size(*sizes)
        outputs = {at.QKV: part.qkv.outputs, at.MIXED: part.out.inputs, at.ACTIVE: part.down.inputs}
        needed = rows * sum(outputs.values()) + torch.get_num_threads() * private
        if self._scratch.numel() < needed:
            self._scratch = torch.empty(needed, **NUMBERS)
        address = self._scratch.data_ptr()
        for name, size in outputs.items():
            a[name] = address
            address += 4 * rows * size
        a[at.PRIVATE], a[at.PRIVATE_SIZE] = address, private

    @torch.inference_mode()
    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Return the logits (N, V) in float32."""
        return matrix_product(hidden_ND, self._head_VD)

    def nll(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        """Return -log p (N,) of the targets in float64."""
        if self._is_eager:
            return self._eager.nll(hidden_ND.to(self._dtype), targets_N)
        return chunked_nll(self.logits, hidden_ND, targets_N)

    def copies(self) -> Mapping[int, Tensor]:
        """The bfloat16 copies of linear layers, by the address of the master's weight."""
        return self._eager.copies()

    def refresh(self) -> None:
        """Take over the master's weights, in place."""
        self._eager.refresh()

    def freeze(self) -> None:
        """Let go of what only `refresh` and `copies` need."""
        self._eager.freeze()


def _addresses(part: Block) -> list[int]:
    """Addresses of a block's weights and biases, in the order of the kernels' table."""
    pairs = (
        _norm_addresses(part.norm_1.masters),
        _linear_addresses(part.qkv),
        _linear_addresses(part.out),
        _norm_addresses(part.norm_2.masters),
        _linear_addresses(part.up),
        _linear_addresses(part.down),
    )
    return list(chain.from_iterable(pairs))


def _norm_addresses(masters: Sequence[Tensor]) -> tuple[int, int]:
    weight, *bias = (master.data_ptr() for master in masters)
    return weight, bias[0] if bias else 0


def _linear_addresses(linear: object) -> tuple[int, int]:
    assert isinstance(linear, (CopyLinear, SplitLinear))
    biases = linear.master_biases_O
    return linear.weight_OK.data_ptr(), biases[0].data_ptr() if biases else 0
