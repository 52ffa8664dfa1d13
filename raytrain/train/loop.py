"""The training loop: initialise, feed data, forward, loss, backward, repeat, and be able to prove it.

Every worker runs this same loop. What a step does is `batch_plan`'s answer; how gradients meet is `reduce`'s; the
loop only walks, saves and keeps the books. The invariant: the parameters after step s depend on the job's
identity alone, not on how many workers took part, how often they died, or where they ran.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any

import torch

from raytrain.errors import UserError
from raytrain.model.decoder import Decoder
from raytrain.model.init import DESCRIPTION, init_weights
from raytrain.store import Store
from raytrain.store.attempt import check
from raytrain.train import finish
from raytrain.train.batch_plan import Range, batch_plan
from raytrain.train.books import Books
from raytrain.train.checkpoint import Checkpoint, Checkpoints, loss_bits, parameter_sha256
from raytrain.train.data import TrainingData
from raytrain.train.job import TrainJob
from raytrain.train.optim import Optimizer
from raytrain.train.parallel import World, join, peak_flops, precision
from raytrain.train.reduce import GradientTree
from raytrain.train.validate import add, sample, validate

SAMPLE_TOKENS = 10_000  # validation tokens scored for a point of the curve; the end scores all
BAD_STEPS = 3  # so many updates in a row that are not finite end a run


class Run:
    """One worker's side of one attempt."""

    def __init__(self, job: TrainJob, world: World, books: Books) -> None:
        self.job, self.world, self.books = job, world, books
        assert job.train.max_steps and job.train.microbatches and job.train.batch_sequences
        self.store = Store(job.store)
        self.data = TrainingData(self.store, job, world.device)
        self.dtype, why = precision(job.train.precision, world.device)
        self.model = Decoder(job.model, self.data.vocab_size)
        init_weights(self.model, job.seed)
        self.model.to(world.device).train()
        self.optimizer = Optimizer(self.model, job.train, world, self.dtype)
        self.tree = GradientTree(self.model, self.optimizer.layout, world, job.train.microbatches)
        self.checkpoints = Checkpoints(self.store, job.run, job.attempt, world, job.train.keep_checkpoints)
        self.peak = peak_flops(world.device, self.dtype) * world.size
        self.flops_per_token = job.model.flops_per_token(self.data.vocab_size)
        self.max_steps = job.train.max_steps
        self.step_tokens = job.train.batch_sequences * job.model.context
        self.skips: tuple[Range, ...] = ()
        self.step = self.bad_steps = 0
        books.see(max_steps=self.max_steps)
        books.say(f"precision {why}; init {DESCRIPTION[job.model.init]}")
        books.say(
            f"{job.model.parameters(self.data.vocab_size):,} parameters, {self.max_steps} steps of "
            f"{self.step_tokens:,} tokens on {world.size} worker{'s' * (world.size > 1)}, {job.train.optimizer}, "
            f"learning rate {job.train.learning_rate:.2e}"
        )

    # -- the essay ----------------------------------------------------------------------------------------------

    def train(self) -> dict[str, Any]:
        """Trains to the last step; returns the figures of the finished model on the first worker, {} on others."""
        train = self.job.train
        assert train.validate_every and train.checkpoint_every
        self.restore()
        self.watch()
        while self.step < self.max_steps:
            self.one_step()
            last = self.step == self.max_steps
            if self.step % train.checkpoint_every == 0 or last:
                self.save()
            if self.step % train.validate_every == 0 and not last:
                self.validate(full=False)
            self.watch()
        final = self.validate(full=True)
        return finish.commit(self, final) if self.world.rank == 0 else {}

    def one_step(self) -> None:
        began, waited = time.time(), 0.0
        plan = batch_plan(self.step, self.job.train, self.skips)
        losses = torch.zeros(len(plan.sequences), dtype=torch.float64)
        for leaf in plan.leaves_of(self.world.rank, self.world.size):
            before = time.time()
            inputs, targets = self.data.batch(plan.sequences[leaf])
            waited += time.time() - before
            self.tree.open_leaf()
            loss = self.forward(inputs, targets, leaf)
            torch.autograd.backward(loss)
            self.tree.close_leaf(leaf)
            losses[leaf] = loss.item()
        chunk = self.tree.exchange()
        figures = self.world.sum(torch.cat([losses, self.optimizer.norms(chunk)]))
        loss_sum, square = figures[: len(losses)].sum().item(), figures[len(losses) :].sum().item()
        norm = math.sqrt(square) / self.step_tokens if math.isfinite(square) else math.inf
        if math.isfinite(loss_sum) and math.isfinite(norm):
            scale = min(1.0, self.job.train.clip / max(norm, 1e-12)) / self.step_tokens
            self.optimizer.step(chunk, scale, plan.learning_rate, self.step)
            self.bad_steps = 0
        else:
            self.leave_out()
        self.step += 1
        self.book(began, waited, loss_sum / self.step_tokens, norm, plan.learning_rate)

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor, leaf: int) -> torch.Tensor:
        """Summed loss of a microbatch. Dropout draws from a stream of its own for every (seed, step, leaf)."""
        if self.job.model.dropout:
            torch.manual_seed((self.job.seed * 1_000_003 + self.step) * 4096 + leaf)
        with torch.autocast(self.world.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.model(inputs, targets)  # type: ignore[no-any-return]

    def leave_out(self) -> None:
        """An update that is not finite is not taken; several in a row end the run."""
        self.bad_steps += 1
        self.books.note("skipped", self.step, reason="not finite")
        self.books.say(f"step {self.step + 1}: loss or gradient is not finite, the update is left out")
        if self.bad_steps >= BAD_STEPS:
            raise UserError(
                f"step {self.step + 1}: {BAD_STEPS} steps in a row are not finite; lower train.learning_rate, "
                "or set train.precision=fp32, under a new name"
            )

    def book(self, began: float, waited: float, loss: float, norm: float, rate: float) -> None:
        mfu = self.step_tokens / (time.time() - began) * self.flops_per_token / self.peak
        figures = {"loss": loss, "grad_norm": norm, "learning_rate": rate, "mfu": mfu, "workers": self.world.size}
        self.books.step(self.step, began, self.step_tokens, waited, figures)

    # -- saving and proving -------------------------------------------------------------------------------------

    def numerics(self) -> dict[str, Any]:
        """All that may change bits although the identity is the same."""
        device = self.world.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
        threads = torch.get_num_threads()
        return {"torch": torch.__version__, "device": name, "dtype": str(self.dtype), "threads": threads}

    def state(self) -> dict[str, torch.Tensor]:
        """This worker's share of the state by name: all parameters, and the optimizer state that it owns."""
        tensors = {f"model/{n}": p.data for n, p in self.optimizer.parameters.items()}
        for name, values in self.optimizer.state.items():
            tensors |= {f"optim/{name}/{key}": value for key, value in values.items()}
        return tensors

    def probe(self) -> str:
        """Loss bits of the next step's first microbatch, without a gradient; computed by the first worker."""
        if self.world.rank > 0:
            return str(self.world.tell(None))
        plan = batch_plan(self.step, self.job.train, self.skips)
        with torch.no_grad():
            return str(self.world.tell(loss_bits(self.forward(*self.data.batch(plan.sequences[0]), 0).item())))

    def save(self) -> None:
        with self.books.phase("checkpoint_save", self.step):
            facts = {
                "identity": self.job.identity(),
                "numerics": self.numerics(),
                "skips": self.skips,
                "replay": self.probe(),
                "parameter_sha256": parameter_sha256(self.optimizer.parameters) if self.world.rank == 0 else None,
            }
            done = self.checkpoints.save(self.step, self.state(), facts)
        if done is not None:
            size = sum(entry["bytes"] for entry in done.manifest["files"].values())
            self.books.note("checkpoint", self.step, prefix=done.prefix, bytes=size)
        self.books.ledger.flush()

    def restore(self) -> None:
        """Takes up the newest valid checkpoint, if there is one, and proves it."""
        found = self.checkpoints.newest_valid(self.job.identity(), lambda line: self.books.loud(line, self.step))
        if found is not None:
            with self.books.phase("checkpoint_restore", found.step):
                self.checkpoints.load(found, self.state())
                self.step = found.step
                self.skips = tuple((a, b) for a, b in found.manifest["skips"])
                self.prove(found)
        if self.world.rank == 0:
            check(self.store, self.job.run, self.job.attempt)
        self.books.note("restore", self.step, workers=self.world.size, max_steps=self.max_steps)
        self.books.ledger.flush()

    def prove(self, found: Checkpoint) -> None:
        """The resumed state must give the loss bits that the saved one gave."""
        bits, numerics = self.probe(), self.numerics()
        if bits == found.manifest["replay"]:
            workers = f"{self.world.size} worker{'s' * (self.world.size > 1)}"
            self.books.say(f"resumed at step {self.step} on {workers}: verified, the next loss has the same bits")
            return
        line = f"resume at step {self.step}: loss bits {bits}, the checkpoint says {found.manifest['replay']}"
        if found.manifest["numerics"] == numerics:
            raise UserError(
                f"{line}, on equal numerics: checkpoint or memory is not to be trusted; delete {found.prefix}"
            )
        line += f"; numerics were {found.manifest['numerics']}, are {numerics}: a new exactness era begins"
        if self.job.train.strict:
            raise UserError(f"{line}, and train.strict forbids it")
        self.books.loud(line, self.step)

    # -- looking ------------------------------------------------------------------------------------------------

    def validate(self, full: bool) -> dict[str, Any]:
        """Held-out bits per byte, on all documents or on a sample of them."""
        documents = self.data.validation if full else sample(self.data.validation, SAMPLE_TOKENS)
        with self.books.phase("eval", self.step):
            scores = validate(self.model, documents, self.data.end_id, self.world, self.dtype)
        whole = add(scores)
        domains = {
            name: add([s for s, d in zip(scores, documents, strict=True) if d.domain == k]).bits_per_byte
            for k, name in enumerate(self.data.domains)
            if any(d.domain == k for d in documents)
        }
        value: dict[str, Any] = {"bits_per_byte": whole.bits_per_byte, "loss": whole.loss, "documents": whole.documents}
        value |= {"bytes": whole.bytes, "full": full, "domains": domains}
        self.books.note("eval", self.step, **value)
        self.books.see(val_bits_per_byte=whole.bits_per_byte)
        return value

    def watch(self) -> None:
        """Before training, at a tenth and at the end: what the model thinks comes next."""
        marks = {0, max(1, self.max_steps // 10), self.max_steps}
        key = f"runs/{self.job.run}/peeks/{self.step:08d}.json"
        if self.world.rank == 0 and self.step in marks and self.job.prompts and not self.store.exists(key):
            body = finish.peek(self.model, self.store, self.job, self.step)
            self.store.put_if_absent(key, json.dumps(body).encode())


def train_worker(job: TrainJob, progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The whole life of one worker; `progress` is called on the first worker only."""
    world = join(job.train.threads)
    books = Books(job, world, progress)
    try:
        run = Run(job, world, books)
        books.ready()
        return run.train()
    finally:
        books.close()
