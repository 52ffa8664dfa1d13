"""The end of a run: the finished model as an artifact, and glimpses of it on the way.

Only the first worker comes here. The invariant: the artifact holds all that generation, evaluation and export
need, and the same training gives the same bytes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch

from raytrain.model.decoder import Decoder
from raytrain.model.generate import next_tokens
from raytrain.model.section import ModelSection
from raytrain.store import Artifact, ArtifactWriter, Store, open_artifact
from raytrain.train.checkpoint import parameter_sha256
from raytrain.train.job import TrainJob

if TYPE_CHECKING:
    from raytrain.train.loop import Run

WEIGHTS, TOKENIZER, CONFIG = "weights.safetensors", "tokenizer.json", "model.json"


def end_id(tokenizer: Artifact) -> int:
    """The id of end-of-text."""
    found = _tokenizer(tokenizer.get(0, TOKENIZER)).token_to_id(tokenizer.facts["end_of_text"])
    assert found is not None
    return int(found)


def commit(run: Run, final: dict[str, Any]) -> dict[str, Any]:
    """Writes the model artifact's one shard and returns its facts."""
    import safetensors.torch

    job = run.job
    writer = ArtifactWriter(run.store, job.output)
    state = {n: p.data.detach().to("cpu", torch.float32).clone() for n, p in run.optimizer.parameters.items()}
    config = {
        "model": job.model.resolved().model_dump(mode="json"),
        "vocab_size": run.data.vocab_size,
        "end_id": run.data.end_id,
    }
    tokenizer = open_artifact(run.store, job.tokenizer)
    assert tokenizer is not None
    objects = {
        WEIGHTS: writer.put(0, WEIGHTS, safetensors.torch.save(state)),
        TOKENIZER: writer.put(0, TOKENIZER, tokenizer.get(0, TOKENIZER)),
        CONFIG: writer.put(0, CONFIG, json.dumps(config, sort_keys=True).encode()),
    }
    facts = {
        "parameter_sha256": parameter_sha256(run.optimizer.parameters),
        "parameters": job.model.parameters(run.data.vocab_size),
        "steps": run.step,
        "tokens": run.step * run.step_tokens,
        "validation": final,
    }
    record = writer.commit_shard(0, objects, 1, facts)
    return dict(record["facts"])


def load_model(artifact: Artifact) -> tuple[Decoder, Any, int]:
    """A finished model in evaluation mode, its tokenizer (of `tokenizers`) and the id of end-of-text."""
    import safetensors.torch

    config = json.loads(artifact.get(0, CONFIG))
    model = Decoder(ModelSection.model_validate(config["model"]), config["vocab_size"])
    state = safetensors.torch.load(artifact.get(0, WEIGHTS))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(state[name])
    return model.eval(), _tokenizer(artifact.get(0, TOKENIZER)), config["end_id"]


def peek(model: Decoder, store: Store, job: TrainJob, step: int) -> dict[str, Any]:
    """The five likeliest next tokens after each prompt, with probabilities."""
    artifact = open_artifact(store, job.tokenizer)
    assert artifact is not None
    tokenizer = _tokenizer(artifact.get(0, TOKENIZER))
    model.eval()
    rows = []
    for prompt in job.prompts:
        ids = tokenizer.encode(prompt, add_special_tokens=False).ids
        if ids:
            top = next_tokens(model, ids)
            rows.append(
                {"prompt": prompt, "next": [[tokenizer.decode([i], skip_special_tokens=False), p] for i, p in top]}
            )
    model.train()
    return {"step": step, "prompts": rows}


def _tokenizer(definition: bytes) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(definition.decode())
