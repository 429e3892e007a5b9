"""GPT-2 and Llama, written out in few operations of torch.

A block is a dozen operations. They know nothing of a cache: what attends is given to
them by whoever runs a pass (`written_out`).

Shapes: B sequences, R new tokens, N = B x R rows, D width, H heads, G key-value
heads, X = H + 2 G, d head width, r = d / 2, F width of the MLP.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from collapse_lm.inference.cache import Positions
from collapse_lm.inference.linear import Linear

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # q (N, H, d), k, v (N, G, d) -> (N, D)


class Norm:
    """LayerNorm, or RMSNorm where there is no bias, in the precision of the work."""

    def __init__(self, module: Any, eps: float, dtype: torch.dtype) -> None:
        self.masters = [module.weight.detach()]
        if getattr(module, "bias", None) is not None:
            self.masters.append(module.bias.detach())
        self.eps = eps
        self._weights = [master.to(dtype) for master in self.masters]

    def __call__(self, x_ND: Tensor) -> Tensor:
        """Normalise each row."""
        if len(self._weights) == 1:
            (weight,) = self._weights
            return functional.rms_norm(x_ND, weight.shape, weight, self.eps)
        weight, bias = self._weights
        return functional.layer_norm(x_ND, weight.shape, weight, bias, self.eps)

    def refresh(self) -> None:
        """Take over the master's weights, in place."""
        for weight, master in zip(self._weights, self.masters, strict=True):
            weight.copy_(master)


@dataclass(frozen=True)
class Block:
    """The parts of one layer, in the order of their use."""

    norm_1: Norm
    qkv: Linear
    out: Linear
    norm_2: Norm
    up: Linear
    down: Linear

    @property
    def linears(self) -> list[Linear]:
        """The parts that hold nearly all of the weights."""
        return [self.qkv, self.out, self.up, self.down]


class Architecture(Protocol):
    """What differs between the families: embedding and block."""

    blocks: list[Block]
    norm_f: Norm
    head: Linear
    kv_heads: int
    head_width: int
    example: Tensor

    def embed(self, ids_BR: Tensor, positions: Positions, dtype: torch.dtype) -> Tensor:
        """Return the input of the first block, (N, D)."""
        ...

    def block(self, part: Block, x_ND: Tensor, positions: Positions, attend: Attend) -> Tensor:
        """Return the output of a block, (N, D), for the rows that `positions` ask for."""
        ...


class GPT2:
    """The architecture of GPT-2 (Radford et al. 2019): learned positions, LayerNorm, GELU."""

    def __init__(self, network: Any, dtype: torch.dtype, linear_class: type[Linear]) -> None:
        config, body = network.config, network.transformer
        self.kv_heads, self.head_width = config.n_head, config.n_embd // config.n_head
        self._tokens, self._positions = body.wte.weight.detach(), body.wpe.weight.detach()
        self.example = torch.empty(0, dtype=dtype, device=self._tokens.device)

        def linear(module: Any) -> Linear:  # transformers' Conv1D stores (K, O)
            return linear_class([module.weight.detach().t()], [module.bias.detach()])

        def norm(module: Any) -> Norm:
            return Norm(module, config.layer_norm_epsilon, dtype)

        self.blocks = [
            Block(
                norm(layer.ln_1),
                linear(layer.attn.c_attn),
                linear(layer.attn.c_proj),
                norm(layer.ln_2),
                linear(layer.mlp.c_fc),
                linear(layer.mlp.c_proj),
            )
            for layer in body.h
        ]
        self.norm_f = norm(body.ln_f)
        self.head = linear_class([network.lm_head.weight.detach()])

    @staticmethod
    def fits(config: Any) -> bool:
        """True for a configuration without the options that are not written out here."""
        return bool(
            config.model_type == "gpt2"
            and config.activation_function in {"gelu_new", "gelu_pytorch_tanh"}
            and config.scale_attn_weights
            and not config.scale_attn_by_inverse_layer_idx
            and not config.add_cross_attention
        )

    def embed(self, ids_BR: Tensor, positions: Positions, dtype: torch.dtype) -> Tensor:
        """Token plus learned position embedding."""
        limit = len(self._positions) - 1  # padding behind a finished sequence may stand past it
        x_BRD = self._tokens[ids_BR] + self._positions[positions.index_BR.clamp(max=limit)]
        x_ND: Tensor = x_BRD.flatten(0, 1).to(dtype)
        return x_ND

    def block(self, part: Block, x_ND: Tensor, positions: Positions, attend: Attend) -> Tensor:
        """Attention and MLP, each behind a LayerNorm and added to its input."""
        qkv_N3D = part.qkv(part.norm_1(x_ND))
        q_NHd, k_NHd, v_NHd = qkv_N3D.view(len(x_ND), 3, -1, self.head_width).unbind(1)
        x_ND, q_NHd = positions.asked(x_ND), positions.asked(q_NHd)
        x_ND = x_ND + part.out(attend(q_NHd, k_NHd, v_NHd))
        up_NF = functional.gelu(part.up(part.norm_2(x_ND)), approximate="tanh")
        return x_ND + part.down(up_NF)


class Llama:
    """The architecture of Llama (Touvron et al. 2023): rotary positions, RMSNorm, SwiGLU."""

    def __init__(self, network: Any, dtype: torch.dtype, linear_class: type[Linear]) -> None:
        config, body = network.config, network.model
        self.kv_heads, self.head_width = config.num_key_value_heads, config.head_dim
        self._heads = config.num_attention_heads
        self._tokens = body.embed_tokens.weight.detach()
        self._frequencies = body.rotary_emb.inv_freq.detach()
        self.example = torch.empty(0, dtype=dtype, device=self._tokens.device)

        def linear(*modules: Any) -> Linear:
            return linear_class([module.weight.detach() for module in modules])

        def norm(module: Any) -> Norm:
            return Norm(module, config.rms_norm_eps, dtype)

        self.blocks = [
            Block(
                norm(layer.input_layernorm),
                linear(layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj),
                linear(layer.self_attn.o_proj),
                norm(layer.post_attention_layernorm),
                linear(layer.mlp.gate_proj, layer.mlp.up_proj),
                linear(layer.mlp.down_proj),
            )
            for layer in body.layers
        ]
        self.norm_f = norm(body.norm)
        self.head = linear(network.lm_head)

    @staticmethod
    def fits(config: Any) -> bool:
        """True for a configuration without the options that are not written out here."""
        return bool(
            config.model_type == "llama"
            and config.hidden_act == "silu"
            and not config.attention_bias
            and not config.mlp_bias
            and config.rope_parameters["rope_type"] == "default"
        )

    def embed(self, ids_BR: Tensor, positions: Positions, dtype: torch.dtype) -> Tensor:
        """Token embedding; the rotations of the new positions are made once per pass."""
        angles_Nr = positions.index_BR.flatten()[:, None] * self._frequencies
        positions.rope = angles_Nr.cos().to(dtype), angles_Nr.sin().to(dtype)
        x_ND: Tensor = self._tokens[ids_BR].flatten(0, 1).to(dtype)
        return x_ND

    def block(self, part: Block, x_ND: Tensor, positions: Positions, attend: Attend) -> Tensor:
        """Attention and MLP, each behind an RMSNorm and added to its input."""
        assert positions.rope is not None
        cos_N1d, sin_N1d = (part_Nr.repeat(1, 2)[:, None] for part_Nr in positions.rope)
        rotated = self._heads + self.kv_heads
        qkv_NXd = part.qkv(part.norm_1(x_ND)).view(len(x_ND), -1, self.head_width)
        qk_NXd = qkv_NXd[:, :rotated]
        low_NXd, high_NXd = qk_NXd.chunk(2, dim=-1)
        qk_NXd = qk_NXd * cos_N1d + torch.cat([-high_NXd, low_NXd], dim=-1) * sin_N1d
        q_NHd, k_NGd = qk_NXd[:, : self._heads], qk_NXd[:, self._heads :]
        x_ND, q_NHd = positions.asked(x_ND), positions.asked(q_NHd)
        x_ND = x_ND + part.out(attend(q_NHd, k_NGd, qkv_NXd[:, rotated:]))
        gate_NF, up_NF = part.up(part.norm_2(x_ND)).chunk(2, dim=-1)
        return x_ND + part.down(functional.silu(gate_NF) * up_NF)
