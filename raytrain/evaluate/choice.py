"""Which of four continuations is the document's own? A small task that any held-out text yields, without labels.

A question is the first tokens of a validation document; the options are what follows there, and what stands at the
same place in three other validation documents of the same domain. The model chooses by summed log-probability.
The invariant: the questions depend on the documents and the seed alone, and a question's answer on nothing but the
question and the model.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from raytrain.model.decoder import Decoder
from raytrain.tokens.loader import ValidationDocument

CONTEXT, CONTINUATION, OPTIONS = 96, 32, 4  # tokens, tokens, continuations to choose from
BATCH_QUESTIONS = 4  # 16 rows of 128 tokens stay in a core's cache: measured a fifth faster than 64 rows
Z95 = 1.959963984540054  # the normal distribution's 97.5 % point


@dataclass(frozen=True)
class Question:
    """A context [tokens] and the options [OPTIONS, tokens] of one domain; the first option is the true one."""

    domain: int
    context: np.ndarray
    options: np.ndarray


def choice(
    model: Decoder,
    documents: Sequence[ValidationDocument],
    end_id: int,
    domains: Sequence[str],
    questions: int,
    seed: int,
) -> dict[str, Any]:
    """How often the model prefers the true continuation, on at most `questions` questions.

    Returns asked, correct, accuracy (None when nothing could be asked), chance, interval (Wilson, 95 %) and the same
    by domain. A domain needs four documents of full length to ask anything. A tie counts as wrong, so that a
    broken model scores 0.
    """
    asked = ask(documents, model.shape.context, questions, seed)
    right = answer(model, asked, end_id)
    by_domain = {
        name: _tally([r for q, r in zip(asked, right, strict=True) if q.domain == k])
        for k, name in enumerate(domains)
        if any(q.domain == k for q in asked)
    }
    return {**_tally(right), "chance": 1 / OPTIONS, "by_domain": by_domain}


def ask(documents: Sequence[ValidationDocument], context: int, questions: int, seed: int) -> list[Question]:
    """Up to `questions` questions in an order drawn by hash, each from another document.

    A model whose context is shorter than the usual 128 tokens is asked shorter questions, three parts of context to
    one of continuation. A document that continues exactly as the true one does is not taken for a wrong option.
    """
    length = min(CONTEXT + CONTINUATION, context)
    split = length - length * CONTINUATION // (CONTEXT + CONTINUATION)
    # Longer by one than what is read, so that no option holds the end-of-text and betrays itself.
    fitting = [i for i, d in enumerate(documents) if len(d.tokens) > length]
    fitting.sort(key=lambda i: _draw(seed, i))
    pools = {k: [i for i in fitting if documents[i].domain == k] for k in {documents[i].domain for i in fitting}}
    tails = {i: documents[i].tokens[split:length].astype(np.int64) for i in fitting}
    found: list[Question] = []
    for index in fitting:
        if len(found) == questions:
            break
        pool = pools[documents[index].domain]
        others = sorted((i for i in pool if i != index), key=lambda i: _draw(seed, index, i))
        wrong = [i for i in others if not np.array_equal(tails[i], tails[index])][: OPTIONS - 1]
        if len(wrong) == OPTIONS - 1:
            head = documents[index].tokens[:split].astype(np.int64)
            found.append(Question(documents[index].domain, head, np.stack([tails[i] for i in (index, *wrong)])))
    return found


@torch.inference_mode()
def answer(model: Decoder, asked: Sequence[Question], end_id: int) -> list[bool]:
    """Whether the true continuation is the likeliest, question by question. The model's mode is left as it was."""
    training = model.training
    model.eval()
    right: list[bool] = []
    for first in range(0, len(asked), BATCH_QUESTIONS):
        scores = option_scores(model, asked[first : first + BATCH_QUESTIONS], end_id)
        right += (scores[:, 0] > scores[:, 1:].amax(1)).tolist()
    model.train(training)
    return right


def option_scores(model: Decoder, batch: Sequence[Question], end_id: int) -> torch.Tensor:
    """Summed log-probabilities [questions, OPTIONS] of the options after end-of-text and the context."""
    rows = [np.concatenate(([end_id], q.context, option)) for q in batch for option in q.options]
    ids = torch.from_numpy(np.stack(rows)).to(model.embedding.weight.device)
    tail = batch[0].options.shape[1]
    # Logits are made for the continuation only: with a small model they are most of the work.
    states = model.hidden(ids[:, :-1])[:, -tail:]
    logits = F.linear(states, model.output_weight).float()[..., : model.vocab_size]
    picked = logits.gather(-1, ids[:, -tail:, None]).squeeze(-1) - logits.logsumexp(-1)
    return picked.double().sum(1).view(len(batch), OPTIONS).cpu()


def wilson(correct: int, asked: int, z: float = Z95) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927), [0, 1] when nothing was asked."""
    if not asked:
        return 0.0, 1.0
    p = correct / asked
    middle = (p + z * z / (2 * asked)) / (1 + z * z / asked)
    half = z / (1 + z * z / asked) * math.sqrt(p * (1 - p) / asked + z * z / (4 * asked * asked))
    return max(0.0, middle - half), min(1.0, middle + half)


def _tally(right: Sequence[bool]) -> dict[str, Any]:
    asked, correct = len(right), sum(right)
    accuracy = correct / asked if asked else None
    return {"asked": asked, "correct": correct, "accuracy": accuracy, "interval": list(wilson(correct, asked))}


def _draw(*numbers: int) -> bytes:
    """A random-looking sort key that is the same with every version of every library."""
    return hashlib.sha256(repr(numbers).encode()).digest()
