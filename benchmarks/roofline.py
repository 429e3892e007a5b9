"""What this machine can do: bytes per second of a matrix-vector pass, FLOP/s of a product."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from collapse_lm.inference.cpu import requirements


def median_seconds(work: Callable[[], object], rounds: int = 7) -> float:
    """Median wall time of some work, after two warm-ups."""
    seconds = []
    for turn in range(rounds + 2):
        begin = time.perf_counter()
        work()
        if turn >= 2:
            seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def bytes_per_second(matrices: list[torch.Tensor]) -> dict[str, float]:
    """Stream weights of a model's own shapes through one row, by every product at hand."""
    passes = weight_passes(matrices)
    return {name: size / median_seconds(work) for name, (size, work) in passes.items()}


def weight_passes(
    matrices: list[torch.Tensor],
) -> dict[str, tuple[int, Callable[[], object]]]:
    """Return the bytes of all weights and a pass over them, by every product at hand."""
    halves = [matrix.detach().bfloat16().contiguous() for matrix in matrices]
    rows = [torch.randn(1, matrix.shape[1]) for matrix in matrices]
    half_rows = [row.bfloat16() for row in rows]
    size = sum(matrix.numel() for matrix in matrices)
    linear = torch.nn.functional.linear

    @torch.inference_mode()
    def pass_over(product: Callable[..., object], inputs: object, weights: object) -> object:
        return [product(x, w) for x, w in zip(inputs, weights, strict=True)]

    contenders = {
        "torch, bfloat16": (2 * size, lambda: pass_over(linear, half_rows, halves)),
        "torch, float32": (4 * size, lambda: pass_over(linear, rows, matrices)),
    }
    if all(requirements.can_multiply(half) for half in halves):
        from collapse_lm.inference.cpu.passes import matrix_product

        ours = (2 * size, lambda: pass_over(matrix_product, rows, halves))
        contenders["our kernel, bfloat16"] = ours
        contenders["read alone, four streams a thread"] = (2 * size, plain_read(size))
    return contenders


def plain_read(size: int) -> Callable[[], object]:
    """Read as many bytes as the bfloat16 weights have and do nothing with them but an xor."""
    from numba import carray, njit

    from collapse_lm.inference.cpu.pointers import integers_at
    from collapse_lm.inference.cpu.team import run, share

    words = torch.randint(2**62, (size // 4,))
    found = torch.zeros(1024, dtype=torch.int64)

    @njit(nogil=True)
    def part(a: Any, thread: Any, threads: Any) -> None:
        first, last = share(a[1], thread, threads)
        quarter = (last - first) // 4
        numbers, out = carray(integers_at(a[0]), (a[1],)), carray(integers_at(a[2]), (1024,))
        second, third, fourth = first + quarter, first + 2 * quarter, first + 3 * quarter
        one, two = numbers[first:second], numbers[second:third]
        three, four = numbers[third:fourth], numbers[fourth : fourth + quarter]
        a0, a1, a2, a3 = 0, 0, 0, 0
        for i in range(quarter):
            a0 ^= one[i]
            a1 ^= two[i]
            a2 ^= three[i]
            a3 ^= four[i]
        out[thread] = a0 ^ a1 ^ a2 ^ a3

    def read() -> object:
        run(part, [words.data_ptr(), len(words), found.data_ptr()])
        return found

    return read


@torch.inference_mode()
def flop_per_second(size: int = 2048) -> dict[str, float]:
    """Time a large square product in either precision."""
    result = {}
    for name, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        x, y = (torch.randn(size, size).to(dtype) for _ in range(2))
        out = torch.empty_like(x)
        seconds = median_seconds(lambda x=x, y=y, out=out: torch.mm(x, y, out=out))
        result[f"torch, {name}"] = 2 * size**3 / seconds
    return result


def weight_matrices(network: torch.nn.Module) -> list[torch.Tensor]:
    """Return the matrices that a decoding pass reads whole, the output head among them."""
    embeddings = {id(m.weight) for m in network.modules() if isinstance(m, torch.nn.Embedding)}
    tied = id(network.get_output_embeddings().weight)
    return [
        p.detach()
        for p in network.parameters()
        if p.dim() == 2 and (id(p) not in embeddings or id(p) == tied)
    ]
