"""Tiny checkpoints of every causal-LM family of transformers: two layers, width 32, 257 tokens.

    python tests/families.py DIR [FAMILY ...]    # all of them, in the hub's layout

A configuration is the family's default one with its sizes replaced by name, so that what
makes a family different (windows, soft caps, experts, kinds of layers) stays as it is.
Weights are drawn from a seed, large enough that every part changes the logits.
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from conftest import byte_tokenizer

VOCABULARY, START = 257, 256  # of the tests' byte-level tokenizer
WIDTH, HEADS, GROUPS, HEAD, LAYERS, EXPERTS, WINDOW, POSITIONS = 32, 4, 2, 8, 2, 4, 8, 128
INNER = 2 * WIDTH  # of feed-forward and state-space layers

SIZES = [
    (VOCABULARY, "vocab_size decoder_vocab_size vocab_size_per_layer_input unpadded_vocab_size"),
    (VOCABULARY, "shape_vocab_size pronunciation_vocab_size encoder_hash_byte_group_vocab"),
    (WIDTH, "hidden_size d_model n_embd dim embedding_size embedding_dim emb_dim lru_width"),
    (WIDTH, "word_embed_proj_dim input_embedding_size output_embedding_size q_lora_rank"),
    (WIDTH, "attention_hidden_size moe_intermediate_size expert_ffn_hidden_size"),
    (WIDTH, "shared_expert_intermediate_size backbone_hidden_size adapter_input_size"),
    (WIDTH, "hidden_size_global router_hidden_size ple_embed_dim adapter_in_dim adapter_out_dim"),
    (INNER, "intermediate_size ffn_dim ffn_hidden_size decoder_ffn_dim encoder_ffn_dim n_inner"),
    (INNER, "dff dim_ff intermediate_size_mlp dense_intermediate_size feed_forward_size d_inner"),
    (INNER, "moe_shared_expert_intermediate_size shared_experts_intermediate_size mamba_d_ssm"),
    (INNER, "shared_intermediate_size"),
    (HEADS, "num_attention_heads n_head n_heads num_heads attention_heads index_n_heads"),
    (HEADS, "decoder_attention_heads encoder_attention_heads num_decoder_attention_heads"),
    (HEADS, "num_encoder_attention_heads swa_num_attention_heads linear_num_heads"),
    (HEADS, "linear_num_value_heads num_shared_heads"),
    (GROUPS, "num_key_value_heads num_kv_heads num_query_groups swa_num_key_value_heads"),
    (GROUPS, "linear_num_key_heads kv_n_heads"),
    (HEAD, "head_dim d_head dim_head attention_head_size kv_channels swa_head_dim v_head_dim"),
    (HEAD, "qk_nope_head_dim qk_rope_head_dim linear_key_head_dim linear_value_head_dim"),
    (HEAD, "linear_head_dim index_head_dim state_size ssm_state_size mamba_d_state mamba_d_head"),
    (HEAD, "mamba_head_dim mamba_headdim mamba_n_heads n_mamba_heads d_rel mamba_num_heads"),
    (HEAD, "query_pre_attn_scalar hidden_size_per_layer_input laurel_rank shape_embed_dim"),
    (HEAD, "pronunciation_embed_dim"),
    (2 * HEAD, "kv_lora_rank time_step_rank mamba_dt_rank gated_norm_rank attention_head_dim"),
    (LAYERS, "num_hidden_layers n_layer n_layers num_layers num_blocks decoder_layers"),
    (LAYERS, "encoder_layers num_decoder_layers num_encoder_layers"),
    (EXPERTS, "n_routed_experts num_experts num_local_experts moe_num_experts zero_expert_num"),
    (WINDOW, "sliding_window sliding_window_size window_size attention_window_size"),
    (WINDOW, "attention_chunk_size local_attention chunk_size mamba_chunk_size"),
    (POSITIONS, "max_position_embeddings n_positions n_ctx max_seq_len max_target_positions"),
    (POSITIONS, "model_max_length context_length"),
]
SIZE_OF = {name: size for size, names in SIZES for name in names.split()}
AT_MOST_2 = {"num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "n_group"}
AT_MOST_2 |= {"topk_group", "num_expert_group", "top_k"}

_MIXED = {"layers_block_type": ["linear_attention", "hybrid"] * 2, "num_hidden_layers": 4}
_MIXED["attention_hidden_size"] = INNER
_INDEXER = {"n_heads": HEADS, "kv_heads": 1, "head_dim": HEAD, "budget": 8}
_QWEN4 = {f"indexer_{name}": size for name, size in _INDEXER.items()} | {
    "indexer_compress_ratio": 2,
    "hc_lowrank": 8,
}
_ROUTED = {"n_routed_experts": EXPERTS, "num_experts_per_tok": 2}
_DOTS3 = {"per_layer_config": {}, "head_dim": 2 * HEAD}
_GEMMA3N = {"num_kv_shared_layers": 0, "activation_sparsity_pattern": [0.95, 0.0]}

# What does not follow from the names: sizes that depend on others, and where two layers are
# not of the two kinds that a family mixes.
OF_FAMILY: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "codegen": {"rotary_dim": 4},
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}
    },
    "dbrx": {"attn_config": {"rope_theta": 1e4, "clip_qkv": 8.0}},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": _ROUTED | {"n_shared_experts": 1},
    "dots3_note": {"text_config": _DOTS3},
    "dots3_note_text": _DOTS3,
    "emu3": {"text_config": {"pad_token_id": 0}},
    "gemma3n_text": _GEMMA3N,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 4},
    "hunyuan_v1_dense": {"head_dim": HEAD},
    "hunyuan_v1_moe": {"head_dim": HEAD},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "mamba2": {"num_heads": 8, "n_groups": 2},
    "ministral": {"head_dim": HEAD},
    "modernbert-decoder": {"pad_token_id": 0},
    "nemotron_h": {"layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"]},
    "nemotron": {"head_dim": HEAD, "num_key_value_heads": HEADS},
    "qwen4_exp": {"text_config": _QWEN4},
    "qwen4_exp_text": _QWEN4,
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {"axial_pos_shape": [8, 16], "axial_pos_embds_dim": [16, 16], "is_decoder": True},
    "rwkv": {"rescale_every": 1},
    "xmod": {"default_language": "en_XX"},
    "zamba": _MIXED,
    "zamba2": _MIXED | {"hybrid_layer_ids": [1, 3]},
}


# Encoders by default, which the flag `is_decoder` of their configuration makes causal.
_ENCODERS = [
    "bert",
    "bert-generation",
    "big_bird",
    "camembert",
    "data2vec-text",
    "electra",
    "ernie",
]
_ENCODERS += ["megatron-bert", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer"]
_ENCODERS += ["xlm-roberta", "xlm-roberta-xl", "xmod"]
_AS_DECODER = " with is_decoder"

NOT_BUILT = {
    "gemma3n": "its vision tower is of the package timm (gemma3n_text is the language model alone)",
    "gemma4_assistant": "drafts for a Gemma 4, whose keys and values it reads",
    "gemma4_unified_assistant": "drafts for a Gemma 4, whose keys and values it reads",
    "musicgen": "its configuration is of three models, of which transformers takes none here",
    "musicgen_melody": "as musicgen",
}

# Twelve that differ in kind; all others are in `make test-all`.
QUICK = [
    *("gpt2", "gpt_neox", "opt"),  # learned positions, rotary ones, learned ones with an offset
    *("gemma2", "mistral", "qwen3_moe"),  # windows and soft caps; windows only; experts
    *("mpt", "mamba", "bamba", "rwkv"),  # biases for positions; states in place of a cache, or both
    *("bert", "bert with is_decoder"),  # not causal; causal
]


def families() -> list[str]:
    """Every family that can be built."""
    named = [name for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if name not in NOT_BUILT]
    return sorted([*named, *(name + _AS_DECODER for name in _ENCODERS)])


def tiny_config(family: str) -> Any:
    """The configuration of a family, shrunk."""
    name = family.removesuffix(_AS_DECODER)
    kind = CONFIG_MAPPING[name]
    changes = OF_FAMILY.get(name, {}) | ({"is_decoder": True} if name != family else {})
    return kind(**_merged(_shrunk(kind().to_dict(), kind), changes))


def _shrunk(default: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """The values to set in a configuration and in those within it."""
    found = {}
    for name, value in default.items():
        if name in kind.sub_configs and isinstance(value, dict):
            inner = kind.sub_configs[name]
            inner = CONFIG_MAPPING[value["model_type"]] if inner is AutoConfig else inner
            found[name] = _shrunk(value, inner)
        elif value is not None and (name in SIZE_OF or name.endswith(_SPECIAL)):
            found[name] = _small(name, value)
        elif name in AT_MOST_2 and isinstance(value, int):
            found[name] = min(2, value)
    keys = ("num_key_value_heads", "num_attention_heads")
    if None is not default.get(keys[0]) == default.get(keys[1]):  # no groups of heads
        found |= dict.fromkeys(keys, HEADS)
    return found


_SPECIAL = ("layer_types", "layers_block_type", "bos_token_id", "eos_token_id", "pad_token_id")


def _small(name: str, value: Any) -> Any:
    if name.endswith(("layer_types", "layers_block_type")):
        return (list(dict.fromkeys(value)) * LAYERS)[:LAYERS]
    if name == "pad_token_id":
        return value if value < VOCABULARY else None
    return START if name.endswith("_token_id") else SIZE_OF[name]


def _merged(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    inner = {
        k: _merged(values[k], v) for k, v in changes.items() if isinstance(values.get(k), dict)
    }
    return values | dict(changes) | inner


def tiny_model(family: str) -> Any:
    """The network of a family, with weights of a seed."""
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(tiny_config(family))
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn_like(parameter)
            if parameter.dim() >= 2 and parameter.std() < 0.05:
                parameter.copy_(0.2 * noise)
            else:
                parameter.add_(0.1 * noise)
    return network.eval()


def save_family(family: str, folder: Path) -> Path:
    """Save network and tokenizer in the hub's layout; return the folder."""
    tiny_model(family).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


if __name__ == "__main__":
    for name in sys.argv[2:] or families():
        begin = time.perf_counter()
        save_family(name, Path(sys.argv[1]) / name)
        print(f"{name}: {time.perf_counter() - begin:.1f} s")
