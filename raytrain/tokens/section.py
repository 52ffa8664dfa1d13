"""The recipe's `tokenizer` section and the mixture over domains."""

from __future__ import annotations

from pydantic import Field

from raytrain.config import Section


class TokenizerSection(Section):
    """How text becomes tokens."""

    file: str | None = Field(None, description="your own tokenizer.json (path or URI); nothing is trained then")
    vocab_size: int = Field(
        16384, ge=264, le=1 << 20, description="tokens to train, the 256 bytes and specials included"
    )
    min_frequency: int = Field(2, ge=1, description="a pair seen less often is never merged")
    end_of_text: str = Field("<|endoftext|>", min_length=1, description="the token between documents")
    sample_bytes: int = Field(1 << 30, ge=1000, description="train on at most so much of the training split")
