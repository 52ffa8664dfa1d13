"""The recipe's `evaluate` section."""

from __future__ import annotations

from pydantic import Field

from raytrain.config import Section


class EvaluateSection(Section):
    """What is asked of the finished model."""

    prompts: tuple[str, ...] = Field(
        (
            "The first thing to do is",
            "In the beginning",
            "This program is free software; you can",
            "To install the package, you need to",
            "He looked at her and",
        ),
        description="prompts whose next tokens are shown before, during and after training",
    )
    sample_tokens: int = Field(120, ge=1, description="length of the samples in the report")
    choices: int = Field(200, ge=0, description="questions of the continuation task; 0 leaves it out")
