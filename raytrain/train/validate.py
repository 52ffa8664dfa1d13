"""Bits per byte on held-out documents, the same number on any count of workers.

Every document is scored from its own start after an end-of-text, in windows of T that begin where the last ended,
its end-of-text included; the summed bits are divided by the documents' UTF-8 bytes, so that tokenizers compare.
The invariant: a window is always scored in the same batch, whoever scores it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from raytrain.model.decoder import IGNORE, Decoder
from raytrain.tokens.loader import ValidationDocument
from raytrain.train.parallel import World

BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Score:
    """Summed nats over documents and what they are measured in."""

    nats: float
    bytes: int
    tokens: int
    documents: int

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / max(1, self.bytes)

    @property
    def loss(self) -> float:
        """Nats a token."""
        return self.nats / max(1, self.tokens)


@torch.inference_mode()
def validate(
    model: Decoder,
    documents: Sequence[ValidationDocument],
    end_id: int,
    world: World,
    dtype: torch.dtype,
) -> list[Score]:
    """One score a document, on every worker. `model` is left in training mode."""
    model.eval()
    context = model.cos.shape[0]
    windows: list[tuple[int, np.ndarray]] = []  # (document, tokens [n + 1])
    for index, document in enumerate(documents):
        ids = np.concatenate(([end_id], document.tokens)).astype(np.int64)
        windows += [(index, ids[at : at + context + 1]) for at in range(0, len(ids) - 1, context)]
    windows.sort(key=lambda item: (-len(item[1]), item[0]))
    batches = _batches([len(w) - 1 for _, w in windows])
    nats = torch.zeros(len(windows), dtype=torch.float64)
    for number, (first, last) in enumerate(batches):
        if number % world.size != world.rank:
            continue
        longest = len(windows[first][1]) - 1
        inputs = np.zeros((last - first, longest), np.int64)
        targets = np.full((last - first, longest), IGNORE, np.int64)
        for row, (_, ids) in enumerate(windows[first:last]):
            inputs[row, : len(ids) - 1], targets[row, : len(ids) - 1] = ids[:-1], ids[1:]
        with torch.autocast(world.device.type, dtype, enabled=dtype != torch.float32):
            loss = model(
                torch.from_numpy(inputs).to(world.device), torch.from_numpy(targets).to(world.device), reduction="none"
            )
        nats[first:last] = loss.double().sum(1).cpu()
    world.sum(nats)
    model.train()
    per_document = np.zeros(len(documents))
    np.add.at(per_document, [index for index, _ in windows], nats.numpy())
    return [Score(float(n), d.bytes, len(d.tokens), 1) for n, d in zip(per_document.tolist(), documents, strict=True)]


def add(scores: Sequence[Score]) -> Score:
    """The scores of many documents as one."""
    return Score(
        math.fsum(s.nats for s in scores),
        sum(s.bytes for s in scores),
        sum(s.tokens for s in scores),
        sum(s.documents for s in scores),
    )


def sample(documents: Sequence[ValidationDocument], tokens: int) -> list[ValidationDocument]:
    """Every k-th document, with k so that about `tokens` tokens are scored; the curve's points between."""
    total = sum(len(d.tokens) for d in documents)
    return list(documents[:: max(1, round(total / tokens))])


def _batches(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of windows, longest first, of at most BATCH_TOKENS padded tokens each."""
    batches, first = [], 0
    while first < len(lengths):
        rows = max(1, BATCH_TOKENS // max(1, lengths[first]))
        batches.append((first, min(len(lengths), first + rows)))
        first = batches[-1][1]
    return batches
