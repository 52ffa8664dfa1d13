"""The recipe's `observe` section: what is written for onlookers besides the report. It never changes a result."""

from __future__ import annotations

from pydantic import Field

from raytrain.config import Section


class ObserveSection(Section):
    """What is written for onlookers while a run goes on."""

    tensorboard: bool = Field(False, description="follow the run into runs/NAME/tensorboard/ for TensorBoard")
