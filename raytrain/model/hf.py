"""Leaving for Hugging Face and coming back: the same weights under transformers' names.

With qk_norm the model is a Qwen3ForCausalLM, without a LlamaForCausalLM. The invariant: `transformers` computes
the same logits from the export as we do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from raytrain.model.decoder import Decoder
from raytrain.model.section import padded

_LAYER = {
    "attention_norm.weight": "input_layernorm.weight",
    "attention.q.weight": "self_attn.q_proj.weight",
    "attention.k.weight": "self_attn.k_proj.weight",
    "attention.v.weight": "self_attn.v_proj.weight",
    "attention.o.weight": "self_attn.o_proj.weight",
    "attention.q_norm.weight": "self_attn.q_norm.weight",
    "attention.k_norm.weight": "self_attn.k_norm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "ffn.gate.weight": "mlp.gate_proj.weight",
    "ffn.up.weight": "mlp.up_proj.weight",
    "ffn.down.weight": "mlp.down_proj.weight",
}
_TOP = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}


def hf_name(name: str) -> str:
    """transformers' name of one of our parameters."""
    if name in _TOP:
        return _TOP[name]
    _, layer, rest = name.split(".", 2)
    return f"model.layers.{layer}.{_LAYER[rest]}"


def to_hf(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state under transformers' names, contiguous on the CPU."""
    return {hf_name(name): tensor.detach().to("cpu").contiguous() for name, tensor in state.items()}


def from_hf(model: Decoder, state: Mapping[str, Tensor]) -> None:
    """Loads an export back. KeyError for a missing tensor, ValueError for another shape."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            tensor = state[hf_name(name)]
            if tensor.shape != parameter.shape:
                raise ValueError(f"{hf_name(name)}: shape {tuple(tensor.shape)}, expected {tuple(parameter.shape)}")
            parameter.copy_(tensor)


def hf_config(model: Decoder, end_id: int) -> dict[str, Any]:
    """config.json for transformers."""
    shape = model.shape
    return {
        "architectures": ["Qwen3ForCausalLM" if shape.qk_norm else "LlamaForCausalLM"],
        "model_type": "qwen3" if shape.qk_norm else "llama",
        "vocab_size": padded(model.vocab_size),
        "hidden_size": shape.width,
        "intermediate_size": shape.ffn_width,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_size,
        "hidden_act": "silu",
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.norm_eps,
        "rope_theta": shape.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "tie_word_embeddings": shape.tied,
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": end_id,
        "eos_token_id": end_id,
        "torch_dtype": "float32",
        "use_cache": True,
    }
