"""Forward passes for sampling and evaluation, on weights refreshed once per update.

Implementations of one interface (`base.Network`): `fast` for GPT-2 and Llama
architectures, `compiled` for the same in bfloat16 on a CPU (its machine code is in
`kernels`), `generic` for any other causal language model of transformers.
"""

from collapse_lm.inference.base import Cache, Network
from collapse_lm.inference.choose import inference_network
from collapse_lm.inference.generic import head_is_plain

__all__ = ["Cache", "Network", "head_is_plain", "inference_network"]
