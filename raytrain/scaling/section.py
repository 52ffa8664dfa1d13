"""The recipe's `sweep` section: which sizes and token counts a scaling sweep trains, and how many at a time.

Rules, each overridden by giving the field:
- depths: a quarter, a half, three quarters and the whole of `model.depth`. A width that the recipe gives shrinks in
  proportion, to a multiple of 32; the dial sets the rest of the shape.
- tokens: a twentieth, a sixth and a half of the recipe's own horizon: a decade.

A trial trains from scratch to its own horizon with the whole schedule, cooled down: no curve is cut short and no
intermediate loss is used (Hoffmann et al. 2022, appendix B; Hägele et al. 2024). Its learning rate and batch follow the
rules of the `train` section for its own size and tokens; those that the recipe gives for its own model are left out.
The batch is halved until the trial takes 128 steps: the rule's least batch would leave the smallest trials a few dozen,
and that would read as a law (measured: a third of the batch is worth 0.2 nats there).
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field, field_validator

from raytrain.config import Section
from raytrain.model.section import ModelSection
from raytrain.train.section import TrainSection

DEPTH_SHARES = (0.25, 0.5, 0.75, 1.0)
HORIZON_SHARES = (1 / 20, 1 / 6, 1 / 2)
LEAST_STEPS = 128
_PER_SIZE = ("max_steps", "batch_sequences", "microbatches", "learning_rate", "validate_every")


class SweepSection(Section):
    """The grid. None means: by the rules above."""

    depths: tuple[int, ...] | None = Field(None, description="sizes, as values of model.depth")
    tokens: tuple[int, ...] | None = Field(None, description="tokens that each size is trained on, rounded to steps")
    concurrency: int | None = Field(
        None, ge=1, description="trials at a time; as many as there are cores or GPUs when not given"
    )
    draws: int = Field(500, ge=100, le=100_000, description="resamples of the bootstrap behind the law's intervals")

    @field_validator("depths", "tokens")
    @classmethod
    def _distinct(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (not value or min(value) < 1 or len(set(value)) < len(value)):
            raise ValueError("give distinct whole numbers from 1")
        return value


@dataclass(frozen=True)
class Cell:
    """One trial of the grid: `train` is resolved."""

    model: ModelSection
    train: TrainSection

    @property
    def tokens(self) -> int:
        """Tokens that the trial trains on."""
        assert self.train.max_steps and self.train.batch_sequences
        return self.train.max_steps * self.train.batch_sequences * self.model.context

    def flops(self, vocab_size: int) -> float:
        """Training FLOPs of the trial, as the trainer counts them."""
        return self.tokens * self.model.flops_per_token(vocab_size)

    @property
    def name(self) -> str:
        """What the trial is called within its sweep."""
        return f"d{self.model.depth}-t{self.tokens}"


def grid(sweep: SweepSection, model: ModelSection, train: TrainSection, vocab_size: int) -> list[Cell]:
    """The trials by rising size, then rising tokens; token counts that round to the same steps are one trial."""
    own = train.resolved(model, vocab_size)
    assert own.max_steps and own.batch_sequences
    horizon = own.max_steps * own.batch_sequences * model.context
    depths = sweep.depths or sorted({max(1, round(model.depth * share)) for share in DEPTH_SHARES})
    tokens = sweep.tokens or [round(horizon * share) for share in HORIZON_SHARES]
    cells: dict[str, Cell] = {}
    for depth in sorted(depths):
        for count in sorted(tokens):
            cell = _cell(_at_depth(model, depth), train, count, vocab_size)
            cells.setdefault(cell.name, cell)
    return list(cells.values())


def _at_depth(model: ModelSection, depth: int) -> ModelSection:
    """The recipe's model at another depth, its aspect ratio kept."""
    if depth == model.depth:
        return model
    document = model.model_dump(exclude={"heads", "kv_heads", "ffn_width"}) | {"depth": depth}
    if model.width is not None:
        document["width"] = max(32, round(model.width / model.depth * depth / 32) * 32)
    return ModelSection.model_validate(document)


def _cell(model: ModelSection, train: TrainSection, tokens: int, vocab_size: int) -> Cell:
    document = train.model_dump(exclude={*_PER_SIZE, "workers"})
    document["tokens_per_parameter"] = tokens / model.parameters(vocab_size)
    resolved = TrainSection.model_validate(document).resolved(model, vocab_size)
    batch = resolved.batch_sequences
    assert batch
    while batch > 1 and tokens < LEAST_STEPS * batch * model.context:
        batch //= 2
    if batch < (resolved.batch_sequences or 1):
        document["batch_sequences"] = batch
        resolved = TrainSection.model_validate(document).resolved(model, vocab_size)
    # Only the end is scored: a point is a finished run, and a look on the way costs as much as training.
    return Cell(model, resolved.model_copy(update={"validate_every": resolved.max_steps}))
