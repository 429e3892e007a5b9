"""What happens to rows between the products: norms, attention, activations.

Shapes: d width of a head, S tokens seen. Every sum runs in one fixed order.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from collapse_lm.inference.cpu.requirements import LANES
from collapse_lm.inference.cpu.tile import compiled


@intrinsic
def _power_of_two(typing: Any, exponent: Any) -> Any:
    """Return 2^exponent as float32, for an int32 from -126 to 127, by writing its bits."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Any) -> Any:
        return b.bitcast(
            b.shl(b.add(arguments[0], ir.IntType(32)(127)), ir.IntType(32)(23)), ir.FloatType()
        )

    return types.float32(types.int32), generate


@compiled
def exponential(number: Any) -> Any:
    """e^x of a float32 to 2 units in the last place, and not below e^-87; vectorisable."""
    x = min(max(number, np.float32(-87)), np.float32(88))
    n = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    x = x - n * np.float32(0.693359375) - n * np.float32(-2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * x + np.float32(1.3981999507e-3)
    p = p * x + np.float32(8.3334519073e-3)
    p = p * x + np.float32(4.1665795894e-2)
    p = p * x + np.float32(1.6666665459e-1)
    p = p * x + np.float32(5.0000001201e-1)
    result = (p * x * x + x + np.float32(1)) * _power_of_two(np.int32(n))
    return result if number == number else number  # what is not a number stays so


@compiled
def gelu_of(x: Any) -> Any:
    """GELU by tanh: x * sigmoid(2 * sqrt(2 / pi) * (x + 0.044715 x^3))."""
    inner = np.float32(1.5957691216) * (x + np.float32(0.044715) * x * x * x)
    return x / (np.float32(1) + exponential(-inner))


@compiled
def silu_of(x: Any) -> Any:
    """SiLU: x * sigmoid(x)."""
    return x / (np.float32(1) + exponential(-x))


@compiled
def split(row: Any, out: Any) -> None:
    """Write the even inputs of a row before the odd ones."""
    half = row.shape[0] // 2
    for i in range(half):
        out[i] = row[2 * i]
        out[half + i] = row[2 * i + 1]


@compiled
def mean(row: Any, lanes: Any, minus: Any, is_square: Any) -> Any:
    """Mean of row - minus, or of its square, summed in 16 lanes."""
    for j in range(LANES):
        lanes[j] = 0
    for i in range(0, row.shape[0], LANES):
        for j in range(LANES):
            value = row[i + j] - minus
            lanes[j] += value * value if is_square else value
    total = np.float32(0)
    for j in range(LANES):
        total += lanes[j]
    return total / np.float32(row.shape[0])


@compiled
def normalise(row: Any, weight: Any, bias: Any, eps: Any, normed: Any, lanes: Any) -> None:
    """RMSNorm of a row, or LayerNorm where there is a bias."""
    centre = np.float32(0)
    if bias.shape[0] > 0:
        centre = mean(row, lanes, centre, False)
    scale = np.float32(1) / np.sqrt(mean(row, lanes, centre, True) + eps)
    if bias.shape[0] > 0:
        for i in range(row.shape[0]):
            normed[i] = (row[i] - centre) * scale * weight[i] + bias[i]
    else:
        for i in range(row.shape[0]):
            normed[i] = row[i] * scale * weight[i]


@compiled
def attend(q: Any, keys: Any, values: Any, seen: Any, scores: Any, out: Any) -> None:
    """Softmax attention of one head at one position, to the first `seen` positions.

    Keys lie as (d, capacity) and values as (capacity, d), so that both sums run over
    whole vectors; scores are padded to a multiple of the lanes.
    """
    width = q.shape[0]
    padded = (seen + LANES - 1) // LANES * LANES
    scores[:padded] = 0
    for i in range(width):
        for s in range(padded):
            scores[s] += q[i] * keys[i, s]
    total = _softmax(scores, seen, padded, np.float32(1) / np.sqrt(np.float32(width)))
    out[:] = 0
    for s in range(seen):
        for i in range(width):
            out[i] += scores[s] * values[s, i]
    for i in range(width):
        out[i] /= total


@compiled
def _softmax(scores: Any, seen: Any, padded: Any, scale: Any) -> Any:
    """Replace scores by exp(scale * score), at most 1 each; return their sum."""
    largest = scores[0]
    for s in range(seen):
        largest = max(largest, scores[s])
    for s in range(padded):
        scores[s] = exponential((scores[s] - largest) * scale)
    total = np.float32(0)
    for s in range(seen):
        total += scores[s]
    return total


@compiled
def gelu(row: Any, bias: Any, out: Any) -> None:
    """GELU of row + bias."""
    for i in range(row.shape[0]):
        out[i] = gelu_of(row[i] + bias[i])


@compiled
def gated(gate: Any, up: Any, out: Any) -> None:
    """silu(gate) * up."""
    for i in range(gate.shape[0]):
        out[i] = silu_of(gate[i]) * up[i]
