"""Decoding passes of GPT-2 and Llama in one call of machine code each.

Everything else of a `Network` (passes without a cache, the refresh) is that of
`FastNetwork`, whose bfloat16 copy of the weights is read here in place.

Shapes: B sequences, R new tokens, N = B x R rows, D width, V vocabulary.
"""

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from collapse_lm.inference import kernels
from collapse_lm.inference.base import Cache
from collapse_lm.inference.fast import Architecture, Block, FastNetwork, Positions
from collapse_lm.inference.kernels import NUMBERS
from collapse_lm.inference.kernels import whole_pass as w
from collapse_lm.inference.linear import CopyLinear


class PassCache:
    """Keys and values of B sequences in float32, in the layout that the kernels read."""

    def __init__(self, batch: int, capacity: int, layers: int, heads: int, width: int) -> None:
        self.capacity = -(-capacity // kernels.LANES) * kernels.LANES
        self.batch = batch
        self.lengths = [0] * batch
        self.keys = torch.zeros(layers, batch, heads, width, self.capacity, **NUMBERS)
        self.values = torch.zeros(layers, batch, heads, self.capacity, width, **NUMBERS)

    def rewind(self, lengths: Sequence[int]) -> None:
        """Keep only the first `lengths[b]` tokens of sequence b."""
        self.lengths = list(lengths)


class CompiledNetwork:
    """A `Network` whose cached passes run on the kernels."""

    takes_ragged = True
    can_rewind = True

    def __init__(self, architecture: Architecture) -> None:
        self._arch = architecture
        self._eager = FastNetwork(architecture)
        self._spare: PassCache | None = None
        self._scratch = torch.empty(0, **NUMBERS)
        self._eps = torch.tensor([architecture.norm_f.eps], **NUMBERS)
        addresses = [_addresses(part) for part in architecture.blocks]
        self._table = torch.tensor(addresses, dtype=torch.int64, device="cpu")

    @staticmethod
    def fits(architecture: Architecture) -> bool:
        """True where the kernels take the model: on the CPU, float32 masters, even sizes."""
        part, master = architecture.blocks[0], architecture.norm_f.masters[0]
        inputs = [part.qkv.inputs, part.out.inputs, part.down.inputs]
        is_here = master.device.type == "cpu" and master.dtype == torch.float32
        has_sizes = not any(n % kernels.MULTIPLE for n in inputs)
        has_shape = architecture.head_width % 2 == 0 and 2 * part.down.inputs >= part.qkv.inputs
        return is_here and has_sizes and has_shape and kernels.are_available()

    @property
    def device(self) -> torch.device:
        """Where it computes: the CPU."""
        return self._eager.device

    def new_cache(self, batch: int, capacity: int) -> Cache:
        """Return an empty cache; the last one is used again where it is large enough."""
        spare, arch = self._spare, self._arch
        if spare is None or spare.batch != batch or spare.capacity < capacity:
            size = (len(arch.blocks), arch.kv_heads, arch.head_width)
            spare = self._spare = PassCache(batch, capacity, *size)
        spare.rewind([0] * batch)
        return spare

    @torch.inference_mode()
    def hidden(self, ids_BR: Tensor, cache: Cache | None = None) -> Tensor:
        """Feed tokens; return the last hidden states (B, R, D).

        Raises:
            IndexError: where a token would stand past the capacity of the cache.
        """
        if cache is None:
            return self._eager.hidden(ids_BR)
        assert isinstance(cache, PassCache)
        arch, (batch, new) = self._arch, ids_BR.shape
        positions = Positions(cache.lengths, new, ids_BR.device)
        if positions.end > cache.capacity or batch != cache.batch:
            raise IndexError(
                f"{batch} sequences of {positions.end} tokens do not fit a cache of "
                f"{cache.batch} sequences of {cache.capacity}"
            )
        x_ND = arch.embed(ids_BR, positions, torch.float32)
        rows, width = x_ND.shape
        cos_Nr, sin_Nr = positions.rope or (self._eps, self._eps)
        sequence_N = torch.arange(batch, device="cpu").repeat_interleave(new)
        position_N = positions.index_BR.flatten()

        part, threads = arch.blocks[0], torch.get_num_threads()
        attended, joined, inner = part.out.inputs, part.qkv.outputs, part.down.inputs
        private = w.private_size(rows, width, inner, arch.head_width, cache.capacity)
        shared = rows * (joined + attended + inner)
        if self._scratch.numel() < shared + threads * private:
            self._scratch = torch.empty(shared + threads * private, **NUMBERS)
        qkv = self._scratch.data_ptr()
        mixed = qkv + 4 * rows * joined
        active = mixed + 4 * rows * attended
        norm_weight, norm_bias = _norm_addresses(arch.norm_f.masters)

        a = [0] * w.ARGUMENTS
        a[w.ROWS], a[w.BATCH], a[w.WIDTH], a[w.INNER] = rows, batch, width, inner
        a[w.HEADS], a[w.KV_HEADS] = attended // arch.head_width, arch.kv_heads
        a[w.HEAD_WIDTH], a[w.LAYERS] = arch.head_width, len(arch.blocks)
        a[w.CAPACITY], a[w.IS_GATED] = cache.capacity, int(positions.rope is not None)
        a[w.EPS], a[w.X] = self._eps.data_ptr(), x_ND.data_ptr()
        a[w.QKV], a[w.MIXED], a[w.ACTIVE] = qkv, mixed, active
        a[w.PRIVATE], a[w.PRIVATE_SIZE] = active + 4 * rows * inner, private
        a[w.SEQUENCE], a[w.POSITION] = sequence_N.data_ptr(), position_N.data_ptr()
        a[w.COS], a[w.SIN] = cos_Nr.data_ptr(), sin_Nr.data_ptr()
        a[w.KEYS], a[w.VALUES] = cache.keys.data_ptr(), cache.values.data_ptr()
        a[w.NORM_WEIGHT], a[w.NORM_BIAS] = norm_weight, norm_bias
        a[w.TABLE] = self._table.data_ptr()
        kernels.run_pass(a)
        cache.rewind([length + new for length in cache.lengths])
        return x_ND.view(batch, new, width)

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Return the logits (N, V) in float32."""
        return self._eager.logits(hidden_ND)

    def nll(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        """Return -log p (N,) of the targets in float64."""
        return self._eager.nll(hidden_ND, targets_N)

    def refresh(self) -> None:
        """Take over the master's weights, in place."""
        self._eager.refresh()


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
    assert isinstance(linear, CopyLinear)
    biases = linear.master_biases_O
    return linear.weight_OK.data_ptr(), biases[0].data_ptr() if biases else 0
