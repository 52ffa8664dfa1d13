"""The model leaves as a Hugging Face folder: safetensors, tokenizer and a card that says what it is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from raytrain.model.hf import hf_config, to_hf
from raytrain.store import Artifact
from raytrain.train.finish import TOKENIZER, load_model


def hugging_face_files(artifact: Artifact, facts: Mapping[str, Any]) -> dict[str, bytes]:
    """All files of the folder by name, for a finished model and its run's facts."""
    import safetensors.torch

    model, tokenizer, end_id = load_model(artifact)
    end = tokenizer.id_to_token(end_id)
    context = model.shape.context
    # A tied head is the embedding: transformers ties it again from the configuration.
    weights = to_hf(dict(model.named_parameters()))
    return {
        "model.safetensors": safetensors.torch.save(weights, metadata={"format": "pt"}),
        "config.json": _json(hf_config(model, end_id)),
        "generation_config.json": _json({"bos_token_id": end_id, "eos_token_id": end_id, "do_sample": True}),
        "tokenizer.json": artifact.get(0, TOKENIZER),
        "tokenizer_config.json": _json(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "model_max_length": context,
                "bos_token": end,
                "eos_token": end,
                "clean_up_tokenization_spaces": False,
            }
        ),
        "special_tokens_map.json": _json({"bos_token": end, "eos_token": end}),
        "README.md": card(facts).encode(),
    }


def card(facts: Mapping[str, Any]) -> str:
    """The model card (Mitchell et al. 2019): what it is, what it read, how good it is, what it cost."""
    model, evaluated, books = facts["model"], facts["evaluation"], facts["account"]
    licences = facts["corpus"].get("groups", {}).get("licence", {})
    validation = model["validation"]
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "tags: [raytrain]",
        "---",
        f"# {facts['run']}",
        "",
        f"A decoder of {model['parameters']:,} parameters, trained from scratch on {model['tokens']:,} tokens "
        f"in {model['steps']:,} steps with raytrain {facts['version']}.",
        "",
        "## What it is for",
        "Research and learning. It was neither aligned nor checked for safety, and it states falsehoods fluently.",
        "",
        "## How good it is",
        f"- held-out bits per byte: **{validation['bits_per_byte']:.4f}** on {validation['documents']} documents "
        f"({validation['bytes']:,} bytes)",
    ]
    for name, key in (("xz -9e", "xz"), ("PPMd", "ppmd"), ("xz -9e after the training text", "xz_given_train")):
        value = evaluated.get(f"{key}_bits_per_byte")
        if value:
            lines.append(f"- {name} on the same documents: {value:.4f}")
    lines += [f"- {domain}: {value:.4f}" for domain, value in validation["domains"].items()]
    task = evaluated.get("choice")
    if task and task["asked"]:
        low, high = task["interval"]
        lines.append(
            f"- true continuation among four: {task['accuracy']:.1%} of {task['asked']} "
            f"(95% interval {low:.1%} to {high:.1%}; chance {task['chance']:.0%})"
        )
    lines += ["", "## What it read", "| licence | documents | bytes |", "|---|---:|---:|"]
    lines += [f"| {name} | {v['documents']:,} | {v['bytes']:,} |" for name, v in sorted(licences.items())]
    lines += [
        "",
        "## What it cost",
        f"${books['cost_usd'] + books['data_cost_usd']:.4f}; goodput {books['goodput']:.1%} of "
        f"{books['elapsed_seconds']:.0f} node seconds of training.",
        "",
        "## Lineage",
        f"parameter_sha256 `{model['parameter_sha256']}`",
        "",
        *(f"- {name}: `{a['prefix']}`" for name, a in facts["artifacts"].items()),
        "",
    ]
    return "\n".join(lines)


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
