"""Initialisation, by the book and independent of the order in which modules are made.

Every tensor has a generator of its own, seeded by (seed, name). Schemes:
- `small`: embeddings and input projections N(0, 2 / (5 d)) (Nguyen and Salazar 2019, SmallInit), output projections
  N(0, (2 / (L sqrt(d)))^2) (Wang and Komatsuzaki's init of GPT-J); GPT-NeoX-20B uses the pair (Black et al. 2022,
  section 2.1.3).
- `gpt2`: N(0, 0.02^2), output projections divided by sqrt(2 L) (Radford et al. 2019, section 2.3).
Norm weights are 1.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import nn

from raytrain.model.decoder import Decoder

DESCRIPTION = {
    "small": "SmallInit N(0, 2/5d), output projections N(0, (2/(L sqrt d))^2) (Nguyen 2019; Black 2022)",
    "gpt2": "N(0, 0.02^2), output projections / sqrt(2L) (Radford 2019)",
}


@torch.no_grad()
def init_weights(model: Decoder, seed: int) -> None:
    """Fills all parameters of a decoder, the same for a seed on every machine and device."""
    depth, width = model.shape.depth, model.embedding.embedding_dim
    if model.shape.init == "gpt2":
        inner, outer = 0.02, 0.02 / math.sqrt(2 * depth)
    else:
        inner, outer = math.sqrt(2 / (5 * width)), 2 / (depth * math.sqrt(width))
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            nn.init.ones_(parameter)
            continue
        std = outer if name.endswith(("attention.o.weight", "ffn.down.weight")) else inner
        key = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little") >> 1)
        values = torch.empty(parameter.shape, dtype=torch.float32).normal_(0.0, std, generator=generator)
        parameter.copy_(values)
