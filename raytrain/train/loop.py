"""The training loop: initialise, feed, forward, loss, backward, repeat, and be able to prove it.

Every worker runs this same function. What a step does is `batch_plan`'s answer; how gradients meet is `reduce`'s;
the loop only walks, saves and keeps the books. The invariant: the parameters after step s depend on the job's
identity alone, not on how many workers took part, how often they died, or where they ran.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from raytrain.errors import UserError
from raytrain.ledger import Ledger
from raytrain.model.decoder import Decoder
from raytrain.model.init import DESCRIPTION, init_weights
from raytrain.store import Store, open_artifact
from raytrain.store.attempt import check
from raytrain.tokens.loader import Tokens
from raytrain.tokens.order import Order, Stage, block_shares
from raytrain.train import finish
from raytrain.train.batch_plan import Range, batch_plan
from raytrain.train.checkpoint import Checkpoint, Checkpoints, loss_bits, parameter_sha256
from raytrain.train.job import TrainJob
from raytrain.train.optim import Optimizer
from raytrain.train.parallel import World, join, peak_flops, precision
from raytrain.train.reduce import GradientTree
from raytrain.train.section import TrainSection
from raytrain.train.validate import add, sample, validate

SAMPLE_TOKENS = 20_000  # validation tokens scored for a point of the curve; the end scores all
BAD_STEPS = 3  # so many updates in a row that are not finite end a run


def order_of(tokens: Tokens, train: TrainSection, seed: int, context: int) -> Order:
    """The order of a corpus under a recipe. Raises UserError for a mixture that the corpus cannot serve."""
    windows = tokens.windows(context)
    if not any(windows):
        raise UserError(f"model.context: no domain holds {context + 1} training tokens; lower it or bring more text")
    weights: list[float] = [float(n) for n in windows]
    if train.mixture is not None:
        for domain in train.mixture:
            if domain not in tokens.groups:
                raise UserError(
                    f"train.mixture: no domain {domain!r} in the corpus; there are {', '.join(tokens.groups)}"
                )
        weights = [train.mixture.get(g, 0.0) if n else 0.0 for g, n in zip(tokens.groups, windows, strict=True)]
        if not sum(weights):
            raise UserError("train.mixture: every domain that it weighs is empty")
    return Order(seed, windows, (Stage(0, block_shares(weights)),))


class Run:
    """One worker's side of one attempt."""

    def __init__(self, job: TrainJob, world: World, progress: Callable[[dict[str, Any]], None]) -> None:
        self.job, self.world, self.progress = job, world, progress
        self.store = Store(job.store)
        self.ledger = Ledger(self.store, job.run, job.attempt, f"rank-{world.rank:05d}", world.node)
        artifact = open_artifact(self.store, job.tokens)
        if artifact is None:
            raise UserError(f"tokens: {job.tokens} is not in {job.store}; run the steps before pretrain first")
        self.tokens = Tokens(artifact)
        facts = self.tokens.facts["tokenizer"]
        tokenizer = open_artifact(self.store, job.tokenizer)
        if tokenizer is None or tokenizer.facts["sha256"] != facts["sha256"]:
            raise UserError(f"tokenizer: {job.tokenizer} is not the one that made {job.tokens}; tokenize again")
        self.vocab_size: int = facts["vocab_size"]
        self.end_id: int = finish.end_id(tokenizer)
        self.context = job.model.context
        self.order = order_of(self.tokens, job.train, job.seed, self.context)
        self.dtype, why = precision(job.train.precision, world.device)
        self.model = Decoder(job.model, self.vocab_size)
        init_weights(self.model, job.seed)
        self.model.to(world.device)
        self.optimizer = Optimizer(self.model, job.train, world, self.dtype)
        self.model.train()
        assert job.train.max_steps and job.train.microbatches and job.train.batch_sequences
        self.tree = GradientTree(self.model, self.optimizer.layout, world, job.train.microbatches)
        self.checkpoints = Checkpoints(self.store, job.run, job.attempt, world, job.train.keep_checkpoints)
        self.documents = self.tokens.validation()
        self.peak = peak_flops(world.device, self.dtype)
        self.flops_per_token = job.model.flops_per_token(self.vocab_size)
        self.step_tokens = job.train.batch_sequences * self.context
        self.skips: tuple[Range, ...] = ()
        self.step = 0
        if world.rank == 0:
            self.progress({"max_steps": job.train.max_steps})
            self.say(f"precision {why}; init {DESCRIPTION[job.model.init]}")
            self.say(
                f"{job.model.parameters(self.vocab_size):,} parameters, {job.train.max_steps} steps of "
                f"{self.step_tokens:,} tokens on {world.size} worker{'s' * (world.size > 1)}, {job.train.optimizer}, "
                f"learning rate {job.train.learning_rate:.2e}"
            )

    # -- the essay ---------------------------------------------------------------------------------------------

    def train(self) -> dict[str, Any]:
        """Trains to the last step and returns the figures of the finished model (on every worker)."""
        train = self.job.train
        assert train.max_steps and train.validate_every and train.checkpoint_every
        self.restore()
        self.watch(0)
        while self.step < train.max_steps:
            self.one_step()
            done = self.step == train.max_steps
            if self.step % train.checkpoint_every == 0 or done:
                self.save()
            if self.step % train.validate_every == 0 and not done:
                self.validate(full=False)
            self.watch(self.step)
        return self.finish()

    def one_step(self) -> None:
        began = time.time()
        plan = batch_plan(self.step, self.job.train, self.skips)
        total = plan.sequences.size * self.context
        losses = torch.zeros(len(plan.sequences), dtype=torch.float64)
        waited = 0.0
        for leaf in plan.leaves_of(self.world.rank, self.world.size):
            before = time.time()
            inputs, targets = self.batch(plan.sequences[leaf])
            waited += time.time() - before
            self.tree.open_leaf()
            loss = self.forward(inputs, targets, leaf)
            torch.autograd.backward(loss)
            self.tree.close_leaf(leaf)
            losses[leaf] = loss.item()
        chunk = self.tree.exchange()
        figures = self.world.sum(torch.cat([losses, self.optimizer.norms(chunk)]))
        loss_sum, square = figures[: len(losses)].sum().item(), figures[len(losses) :].sum().item()
        norm = math.sqrt(square) / total if math.isfinite(square) else math.inf
        if math.isfinite(loss_sum) and math.isfinite(norm):
            scale = min(1.0, self.job.train.clip / max(norm, 1e-12)) / total
            self.optimizer.step(chunk, scale, plan.learning_rate, self.step)
            self.bad_steps = 0
        else:
            self.not_finite(plan.step)
        self.step += 1
        self.book(began, waited, loss_sum / total, norm, plan.learning_rate, total)

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor, leaf: int) -> torch.Tensor:
        """Summed loss of a microbatch. Dropout draws from a stream of its own for every (seed, step, leaf)."""
        if self.job.model.dropout:
            torch.manual_seed((self.job.seed * 1_000_003 + self.step) * 4096 + leaf)
        with torch.autocast(self.world.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.model(inputs, targets)  # type: ignore[no-any-return]

    def batch(self, sequences: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets int64 [sequences, T] of planned sequence numbers."""
        at = self.order.locate(sequences)
        rows = [self.tokens.window(int(g), int(w), self.context) for g, w in zip(at.group, at.window, strict=True)]
        ids = torch.from_numpy(np.stack(rows)).to(self.world.device)
        return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    # -- saving and proving ------------------------------------------------------------------------------------

    def numerics(self) -> dict[str, Any]:
        """All that may change bits although the identity is the same."""
        device = self.world.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
        return {
            "torch": torch.__version__,
            "device": name,
            "dtype": str(self.dtype),
            "threads": torch.get_num_threads(),
        }

    def state(self) -> dict[str, torch.Tensor]:
        """Every worker's share of the state by name: all parameters, and the optimizer state that it owns."""
        tensors = {f"model/{n}": p.data for n, p in self.optimizer.parameters.items()}
        for name, values in self.optimizer.state.items():
            tensors |= {f"optim/{name}/{key}": value for key, value in values.items()}
        return tensors

    def probe(self) -> str:
        """Loss bits of the next step's first microbatch, without a gradient."""
        plan = batch_plan(self.step, self.job.train, self.skips)
        with torch.no_grad():
            return loss_bits(self.forward(*self.batch(plan.sequences[0]), 0).item())

    def save(self) -> None:
        with self.phase("checkpoint_save"):
            facts = {
                "identity": self.job.identity(),
                "numerics": self.numerics(),
                "skips": self.skips,
                "replay": self.world.tell(self.probe() if self.world.rank == 0 else None),
            }
            if self.world.rank == 0:
                facts["parameter_sha256"] = parameter_sha256(self.optimizer.parameters)
            try:
                done = self.checkpoints.save(self.step, self.state(), facts)
            finally:
                self.ledger.flush()
        if done is not None:
            self.ledger.event("checkpoint", step=self.step, value={"prefix": done.prefix})

    def restore(self) -> None:
        start = time.time()
        found = self.checkpoints.newest_valid(self.job.identity(), self.loud)
        if found is not None:
            self.checkpoints.load(found, self.state())
            self.step = found.step
            self.skips = tuple((a, b) for a, b in found.manifest["skips"])
            self.prove(found)
            self.ledger.phase("checkpoint_restore", start, time.time())
        if self.world.rank == 0:
            check(self.store, self.job.run, self.job.attempt)
            self.ledger.event("restore", step=self.step, value={"workers": self.world.size, "leg_start": start})
        self.ledger.flush()

    def prove(self, found: Checkpoint) -> None:
        """The resumed state must give the loss bits that the saved one gave."""
        same = found.manifest["numerics"] == self.numerics()
        bits = self.world.tell(self.probe() if self.world.rank == 0 else None)
        if bits == found.manifest["replay"]:
            if self.world.rank == 0:
                self.say(
                    f"resumed at step {self.step} on {self.world.size} workers: verified, the next loss has the same "
                    "bits"
                )
            return
        line = f"resume at step {self.step}: loss bits {bits}, the checkpoint says {found.manifest['replay']}"
        if same:
            raise UserError(
                f"{line}, on equal numerics: the checkpoint or the memory is not to be trusted; delete {found.prefix}"
            )
        line += f"; numerics were {found.manifest['numerics']}, are {self.numerics()}: a new exactness era begins"
        if self.job.train.strict:
            raise UserError(f"{line}, and train.strict forbids it")
        self.loud(line)

    # -- looking ------------------------------------------------------------------------------------------------

    def validate(self, full: bool) -> dict[str, Any]:
        with self.phase("eval"):
            documents = self.documents if full else sample(self.documents, SAMPLE_TOKENS)
            scores = validate(self.model, documents, self.end_id, self.world, self.dtype)
        whole = add(scores)
        value: dict[str, Any] = {"bits_per_byte": whole.bits_per_byte, "loss": whole.loss, "documents": whole.documents}
        value["bytes"], value["full"] = whole.bytes, full
        value["domains"] = {
            name: add([s for s, d in zip(scores, documents, strict=True) if d.group == k]).bits_per_byte
            for k, name in enumerate(self.tokens.groups)
            if any(d.group == k for d in documents)
        }
        if self.world.rank == 0:
            self.ledger.event("eval", step=self.step, value=value)
            self.progress({"step": self.step, "val_bits_per_byte": whole.bits_per_byte})
        return value

    def watch(self, step: int) -> None:
        """Before training, at a tenth and at the end: what the model thinks comes next."""
        assert self.job.train.max_steps
        marks = {0, max(1, self.job.train.max_steps // 10), self.job.train.max_steps}
        if self.world.rank == 0 and step == self.step and step in marks and self.job.prompts:
            key = f"runs/{self.job.run}/peeks/{step:08d}.json"
            if not self.store.exists(key):
                body = finish.peek(self.model, self.store, self.job, step)
                self.store.put_if_absent(key, json.dumps(body).encode())

    def finish(self) -> dict[str, Any]:
        final = self.validate(full=True)
        return finish.commit(self, final) if self.world.rank == 0 else {}

    # -- the books ----------------------------------------------------------------------------------------------

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.time()
        try:
            yield
        finally:
            if self.world.leader:
                self.ledger.phase(name, start, time.time(), self.step)

    def book(self, began: float, waited: float, loss: float, norm: float, rate: float, tokens: int) -> None:
        now = time.time()
        seconds = now - began
        speed = tokens / seconds
        mfu = speed * self.flops_per_token / (self.peak * self.world.size)
        if self.world.leader:
            value = {"seconds": seconds, "data_wait": waited, "tokens": tokens if self.world.rank == 0 else 0}
            if self.world.rank == 0:
                value |= {
                    "loss": loss,
                    "grad_norm": norm,
                    "learning_rate": rate,
                    "mfu": mfu,
                    "workers": self.world.size,
                }
            self.ledger.event("step", ts=now, step=self.step, value=value)
        if self.world.rank == 0:
            self.progress({"step": self.step, "loss": loss, "tokens_per_second": speed, "mfu": mfu})

    bad_steps = 0

    def not_finite(self, step: int) -> None:
        self.bad_steps += 1
        if self.world.rank == 0:
            self.ledger.event("skipped", step=step, value={"reason": "not finite"})
            self.say(f"step {step}: loss or gradient is not finite, the update is left out")
        if self.bad_steps >= BAD_STEPS:
            raise UserError(
                f"step {step}: {BAD_STEPS} steps in a row are not finite; lower train.learning_rate, "
                "or set train.precision=fp32, under a new name"
            )

    def say(self, line: str) -> None:
        self.progress({"say": line})

    def loud(self, line: str) -> None:
        """Something that must not pass unseen: into the ledger and before the user's eyes."""
        self.ledger.event("warning", step=self.step, value={"message": line})
        self.say(f"WARNING {line}")


def train_worker(job: TrainJob, progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The whole life of one worker; `progress` is called on the first worker only."""
    born = time.time()
    world = join(job.train.threads)
    run = Run(job, world, progress if world.rank == 0 else lambda _: None)
    try:
        if world.leader:
            run.ledger.event("node_up", ts=born)
            run.ledger.event("price", ts=born, value={"usd_per_hour": job.usd_per_hour})
            run.ledger.phase("setup", born, time.time())
        return run.train()
    finally:
        if world.leader:
            run.ledger.event("node_down")
        run.ledger.close()
