"""Forward passes for sampling and evaluation, on weights refreshed once per update.

Implementations of one interface (`base.Network`): `written_out` runs GPT-2 and Llama
(`architectures`) in operations of torch, `cpu` decodes the same on a CPU as machine
code (in bfloat16, or in float32 for what draws), `generic` takes any other causal language
model of transformers. `choose` knows which; numba is imported only where it chooses machine
code.
"""

from collapse_lm.inference.as_configured import is_touched
from collapse_lm.inference.base import Cache, Network
from collapse_lm.inference.choose import inference_network, is_written_out, reads_compiled
from collapse_lm.inference.forward import head_is_plain, in_evaluation

__all__ = [
    "Cache",
    "Network",
    "head_is_plain",
    "in_evaluation",
    "inference_network",
    "is_touched",
    "is_written_out",
    "reads_compiled",
]
