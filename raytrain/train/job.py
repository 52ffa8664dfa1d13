"""What a training worker is told: everything, as one JSON value that crosses any process boundary."""

from __future__ import annotations

from raytrain.config import Section, digest
from raytrain.model.section import ModelSection
from raytrain.train.section import TrainSection


class TrainJob(Section):
    """One attempt at one run. `train` is resolved; the tokens and the model lie in the store."""

    store: str
    run: str
    attempt: int
    seed: int
    model: ModelSection
    train: TrainSection
    tokens: str
    """Prefix of the tokens artifact."""
    tokenizer: str
    """Prefix of the tokenizer artifact."""
    output: str
    """Prefix of the model artifact to write."""
    prompts: tuple[str, ...] = ()
    usd_per_hour: float = 0.0
    """Price of a node, for the ledger."""

    def identity(self) -> str:
        """The hash of all that decides the result; a checkpoint of another identity is never resumed."""
        return digest(
            {
                "seed": self.seed,
                "model": self.model.resolved().model_dump(mode="json"),
                "train": self.train.identity(),
                "tokens": self.tokens,
            }
        )
