"""A run's data as the loop sees it: planned sequence numbers in, tensors out.

The invariant: a sequence's tensors depend on the tokens artifact, the seed and the mixture, not on who asks.
"""

from __future__ import annotations

import numpy as np
import torch

from raytrain.errors import UserError
from raytrain.store import Store, open_artifact
from raytrain.tokens.loader import Tokens
from raytrain.tokens.order import Order
from raytrain.train import finish
from raytrain.train.job import TrainJob
from raytrain.train.mixture import stages
from raytrain.train.section import TrainSection


def order_of(tokens: Tokens, train: TrainSection, seed: int, context: int) -> Order:
    """The order of a corpus under a resolved section. Raises UserError for weights that the corpus cannot serve."""
    windows = tokens.windows(context)
    if not any(windows):
        raise UserError(f"model.context: no domain holds {context + 1} training tokens; lower it or bring more text")
    return Order(seed, windows, stages(tokens.groups, windows, train))


class TrainingData:
    """The tokens of a job, in order, with what belongs to them."""

    def __init__(self, store: Store, job: TrainJob, device: torch.device) -> None:
        artifact, tokenizer = open_artifact(store, job.tokens), open_artifact(store, job.tokenizer)
        if artifact is None:
            raise UserError(f"tokens: {job.tokens} is not in {job.store}; run the steps before pretrain first")
        self._tokens, self._context, self._device = Tokens(artifact), job.model.context, device
        facts = artifact.facts["tokenizer"]
        if tokenizer is None or tokenizer.facts["sha256"] != facts["sha256"]:
            raise UserError(f"tokenizer: {job.tokenizer} is not the one that made {job.tokens}; tokenize again")
        self.vocab_size: int = facts["vocab_size"]
        self.end_id: int = finish.end_id(tokenizer)
        self.domains = self._tokens.domains
        self.validation = self._tokens.validation()
        self._order = order_of(self._tokens, job.train, job.seed, self._context)

    def batch(self, sequences: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets int64 [sequences, T] of planned sequence numbers."""
        at = self._order.locate(sequences)
        rows = [self._tokens.window(int(g), int(w), self._context) for g, w in zip(at.group, at.window, strict=True)]
        ids = torch.from_numpy(np.stack(rows)).to(self._device)
        return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
