"""Forward passes for sampling and evaluation, on weights refreshed once per update.

Two implementations of one interface (`base.Network`): `fast` for GPT-2 and Llama
architectures, `generic` for any other causal language model of transformers.
"""

from collapse_lm.inference.base import Cache, Network
from collapse_lm.inference.choose import inference_network

__all__ = ["Cache", "Network", "inference_network"]
