"""The steps `baseline` and `evaluate`: what general compressors make of the held-out text, and what the model does."""

from __future__ import annotations

import os
from typing import Any

from raytrain.store import Artifact, ArtifactWriter
from raytrain.store.artifact import read_table
from raytrain.store.step import StepContext, StepResult


def run_baseline(ctx: StepContext) -> StepResult:
    """xz and PPMd on the validation documents, and xz that has read the training split before."""
    from raytrain.evaluate.compress import compressed_bits_per_byte, conditional_xz

    writer = ArtifactWriter(ctx.store, ctx.prefix)
    record = writer.record(0)
    if record is None:
        documents, training = _texts(ctx.parents["corpus"], "validation"), _texts(ctx.parents["corpus"], "train")
        found: dict[str, Any] = {"documents": len(documents), "bytes": sum(map(len, documents))}
        if documents:
            plain = compressed_bits_per_byte(documents)
            given = conditional_xz(b"\n".join(training), documents)
            found |= {"xz": plain["xz"], "ppmd": plain["ppmd"], "xz_given_train": given}
        record = writer.commit_shard(0, {}, 1, found)
    facts = record["facts"]
    if facts["documents"]:
        ppmd = f", PPMd {facts['ppmd']:.3f}" if facts["ppmd"] else ""
        ctx.say(
            f"{facts['documents']} held-out documents, {facts['bytes']:,} bytes; bits per byte: xz -9e "
            f"{facts['xz']:.3f}, xz after the training text {facts['xz_given_train']:.3f}{ppmd}"
        )
    return StepResult([record], facts)


def run_evaluate(ctx: StepContext) -> StepResult:
    """The finished model's held-out bits per byte beside the compressors', the continuation task, samples."""
    writer = ArtifactWriter(ctx.store, ctx.prefix)
    record = writer.record(0)
    if record is None:
        record = writer.commit_shard(0, {}, 1, _evaluate(ctx))
    facts = record["facts"]
    task = facts.get("choice")
    if task and task["asked"]:
        low, high = task["interval"]
        ctx.say(
            f"continuation task: {task['accuracy']:.0%} of {task['asked']} right "
            f"(95% interval {low:.0%} to {high:.0%}, chance {task['chance']:.0%})"
        )
    return StepResult([record], facts)


def _evaluate(ctx: StepContext) -> dict[str, Any]:
    import torch

    from raytrain.evaluate.choice import choice
    from raytrain.model.generate import generate
    from raytrain.tokens.loader import Tokens
    from raytrain.train.finish import load_model

    torch.set_num_threads(os.cpu_count() or 1)
    artifact = ctx.parents["model"]
    baseline = ctx.parents["baseline"].facts if "baseline" in ctx.parents else {}  # tokens of others have no text
    model, tokenizer, end_id = load_model(artifact)
    tokens = Tokens(ctx.parents["tokens"])
    validation = artifact.facts["validation"]
    facts: dict[str, Any] = {
        "val_bits_per_byte": validation["bits_per_byte"],
        "xz_bits_per_byte": baseline.get("xz"),
        "ppmd_bits_per_byte": baseline.get("ppmd"),
        "xz_given_train_bits_per_byte": baseline.get("xz_given_train"),
        "domains": validation["domains"],
        "samples": [],
    }
    if ctx.config["choices"]:
        questions = int(ctx.config["choices"])
        facts["choice"] = choice(model, tokens.validation(), end_id, tokens.domains, questions, int(ctx.config["seed"]))
    for number, prompt in enumerate(ctx.config["prompts"]):
        ids = tokenizer.encode(prompt, add_special_tokens=False).ids
        if ids:
            more = generate(
                model, ids, max_tokens=int(ctx.config["sample_tokens"]), end_id=end_id, top_p=0.95, seed=number
            )
            facts["samples"].append({"prompt": prompt, "text": tokenizer.decode(more)})
    return facts


def _texts(corpus: Artifact, split: str) -> list[bytes]:
    """The documents of a split in shard and row order, as UTF-8."""
    texts: list[bytes] = []
    for shard in range(len(corpus.shards)):
        table = read_table(corpus, shard, "kept.parquet", ["text", "split"])
        pairs = zip(table["text"].to_pylist(), table["split"].to_pylist(), strict=True)
        texts += [text.encode() for text, where in pairs if where == split]
    return texts
