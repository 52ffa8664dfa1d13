from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from raytrain.model.decoder import Decoder
from raytrain.model.hf import from_hf, hf_config, to_hf
from raytrain.model.init import init_weights
from raytrain.model.section import ModelSection


def make(**fields: Any) -> Decoder:
    section = ModelSection.model_validate({"depth": 2, "width": 64, "heads": 4, "kv_heads": 2, "context": 48} | fields)
    model = Decoder(section, 300)
    init_weights(model, 5)
    with torch.no_grad():
        for parameter in model.parameters():  # norms of ones would hide a missing norm
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields", [{}, {"qk_norm": False}, {"tied": False}, {"kv_heads": 4, "rope_theta": 5e5, "norm_eps": 1e-5}]
)
def test_transformers_computes_the_same_logits(tmp_path: Path, fields: dict[str, Any]) -> None:
    from transformers import AutoModelForCausalLM

    model = make(**fields)
    (tmp_path / "config.json").write_text(json.dumps(hf_config(model, 0)))
    state = to_hf(dict(model.named_parameters()))
    safetensors.torch.save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    tokens = torch.randint(0, 300, (2, 48))
    with torch.no_grad():
        gap = (theirs(tokens).logits[..., :300] - model.logits(tokens)).abs().max().item()
    assert gap < 1e-5


def test_an_export_comes_back() -> None:
    model, other = make(), make()
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    from_hf(other, to_hf(dict(model.named_parameters())))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    with pytest.raises(ValueError, match="shape"):
        from_hf(make(width=32), to_hf(dict(model.named_parameters())))
