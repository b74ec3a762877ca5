"""Training of the bundled model: `python -m corpora.training.train OUT [--tokens N ...]`.

Muon on the matrices of the layers, Adam on embeddings and norms; the rate stays, then falls linearly. On a
GPU each step is recorded once for every shape of batch and then played.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from corpora.training.curriculum import BESIDE, COURSES, Batch, pools
from corpora.training.muon import Muon
from corpora.training.network import Network, Shape
from corpora.training.probe import probe, probe_rows
from corpora.training.together import ALONE, Together
from corpora.training.tokenizer import train_tokenizer

LOG_TOKENS = 400_000  # between two lines of the log
PROBE_TOKENS = 10_000_000  # between two looks at what the network can do
KEEP_SECONDS = 60  # between two checkpoints
LEARNED = 0.33  # about the sum of the weights of a full batch, as a share of its tokens
ADAM_RATE = 2e-3


def loss_of(network: Network, tokens: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy over a fixed share of the batch; (sum, number) of the assistant's tokens (nats).

    The fixed divisor keeps a batch of short rows, which hold little to learn, from counting like the others.
    """
    aims, marks = tokens.roll(-1, 1).flatten(), F.pad(weights[:, 1:], (0, 1)).flatten()
    with torch.autocast(tokens.device.type, dtype=torch.bfloat16, cache_enabled=not tokens.is_cuda):
        hidden = network(tokens).flatten(0, 1)
        if not tokens.is_cuda:  # the head costs a good part there: of the others' tokens a random quarter
            some = (marks > BESIDE) | ((marks > 0) & (torch.rand_like(marks) < 0.25))
            chosen = some.nonzero().squeeze(1)
            hidden, aims, marks = hidden[chosen], aims[chosen], marks[chosen]
            marks = torch.where(marks > BESIDE, marks, 4 * marks)
        logits = network.logits(hidden)
    each = F.cross_entropy(logits.float(), aims, reduction="none")
    own = (marks == 1.0).float()
    return (each * marks).sum() / (LEARNED * tokens.numel()), torch.stack(
        ((each.detach() * own).sum(), own.sum())
    )


class Trainer:
    """A network and its optimizers; sums: of the loss, and (sum, number) of the assistant's tokens."""

    def __init__(self, network: Network, rate: float, together: Together = ALONE) -> None:
        self.network, self.device, self.together = network, network.cos.device, together
        matrices = [p for n, p in network.named_parameters() if p.ndim == 2 and "embed" not in n]
        others = [p for n, p in network.named_parameters() if p.ndim != 2 or "embed" in n]
        self.rates = [(torch.tensor(full, device=self.device), full) for full in (rate, ADAM_RATE)]
        fast = self.device.type == "cuda"
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, self.rates[0][0]),
            torch.optim.AdamW(
                others, self.rates[1][0], betas=(0.9, 0.95), weight_decay=0.0, capturable=fast, foreach=fast
            ),
        ]
        self.sums = torch.zeros(3, device=self.device)
        self._recorded: dict[torch.Size, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}
        self._seen: set[torch.Size] = set()

    def step(self, batch: Batch, factor: float) -> None:
        """One step at this share of the full rates."""
        for tensor, full in self.rates:
            tensor.fill_(full * factor)
        tokens, weights = torch.from_numpy(batch.tokens), torch.from_numpy(batch.weights)
        if self.device.type != "cuda":
            self._step(tokens, weights)
            return
        shape = tokens.shape
        if shape in self._recorded:
            graph, held_tokens, held_weights = self._recorded[shape]
            held_tokens.copy_(tokens)
            held_weights.copy_(weights)
            graph.replay()
            return
        tokens, weights = tokens.to(self.device), weights.to(self.device)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._step(tokens, weights)  # a step like any other; it also warms up what the recording needs
        torch.cuda.current_stream().wait_stream(side)
        if shape in self._seen:
            self._record(tokens, weights)
        self._seen.add(shape)

    def _record(self, tokens: Tensor, weights: Tensor) -> None:
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self._recorded.values()))[0].pool() if self._recorded else None
        with torch.cuda.graph(graph, pool=pool):
            self._step(tokens, weights)
        self._recorded[tokens.shape] = (graph, tokens, weights)

    def _step(self, tokens: Tensor, weights: Tensor) -> None:
        for parameter in self.network.parameters():
            parameter.grad = None
        loss, own = loss_of(self.network, tokens, weights)
        loss.backward()
        self.together.average(self.network.parameters())
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.sums += torch.cat((loss.detach()[None], own))

    def save(self, path: Path, seen: int, pool: int) -> None:
        """A checkpoint, replaced in one step, and beside it the shape of its network."""
        path.with_name("shape.json").write_text(json.dumps(asdict(self.network.shape)))
        part = path.with_suffix(".part")
        state = {
            "network": self.network.state_dict(),
            "seen": seen,
            "pool": pool,
            "draws": torch.get_rng_state(),
        }
        torch.save(state | {"optimizers": [o.state_dict() for o in self.optimizers]}, part)
        part.replace(path)

    def load(self, path: Path) -> tuple[int, int]:
        """Goes on from a checkpoint: tokens seen, and the next pool."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for (tensor, _), optimizer in zip(self.rates, self.optimizers, strict=True):
            optimizer.param_groups[0]["lr"] = tensor
        if "draws" in state:  # so that what comes is what it would have been without the break
            torch.set_rng_state(state["draws"].cpu())
        return state["seen"], state["pool"]


def rate(seen: int, total: int, decay: int) -> float:
    """Share of the full rates: short warm-up, whole, linear to a hundredth over the last `decay` tokens."""
    return min(1.0, (seen + 20_000) / 300_000) * max(0.01, min(1.0, (total - seen) / decay))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--course", choices=list(COURSES), default="base")
    parser.add_argument(
        "--from", dest="source", type=Path, help="a model directory whose weights a new run begins with"
    )
    parser.add_argument("--context", type=int, default=8192, help="positions, as config.json will say")
    parser.add_argument(
        "--hours", type=float, default=1e6, help="end after so many, at the end of a pool; it goes on"
    )
    parser.add_argument("--tokens", type=int, default=95_000_000)
    parser.add_argument("--decay", type=int, default=60_000_000)
    parser.add_argument("--batch", type=int, default=8192, help="tokens of one step, padding counted")
    parser.add_argument("--log", type=int, default=LOG_TOKENS, help="tokens between two lines of the log")
    parser.add_argument("--rate", type=float, default=0.02, help="of the matrices")
    parser.add_argument("--seed", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument(
        "--processes", type=int, default=1, help="each computes a batch of its own in every step; for CPUs"
    )
    spare = min(12, max(0, (os.cpu_count() or 1) - 2))
    parser.add_argument("--workers", type=int, default=spare, help="processes that draw the rows, or 0")
    parser.add_argument("--questions", type=int, default=100, help="of each kind, now and then")
    parser.add_argument(
        "--compile", action="store_true", help="let torch compile the layers, for CPUs; needs a C++ compiler"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def main() -> None:
    """Train, or go on from OUT/checkpoint.pt; append to OUT/log.jsonl and OUT/probes.jsonl."""
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    words = options.out / "bpe.json"
    if not words.exists() and options.source is None:
        train_tokenizer().save(str(words))
    elif not words.exists():
        shutil.copyfile(options.source / "tokenizer.json", words)
    place = options.out / f"meeting-{os.getpid()}"
    members = [Together(rank, options.processes) for rank in range(options.processes)]
    others = [get_context("spawn").Process(target=train, args=(options, one, place)) for one in members[1:]]
    for one in others:
        one.start()
    train(options, members[0], place)
    for one in others:
        one.join()
    place.unlink(missing_ok=True)


def train(options: argparse.Namespace, together: Together, place: Path) -> None:
    """What one of the processes does. place: as in Together.meet()."""
    together.meet(place)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    tokenizer = Tokenizer.from_file(str(options.out / "bpe.json"))
    network = Network(Shape(vocabulary=tokenizer.get_vocab_size(), context=options.context))
    if options.compile:
        for block in network.model.layers:
            block.compile(dynamic=True)
    trainer = Trainer(network.to(options.device), options.rate, together)
    kept = options.out / "checkpoint.pt"
    if options.source is not None and not kept.exists():
        network.load_state_dict(load_file(options.source / "model.safetensors"))
    seen, pool = trainer.load(kept) if kept.exists() else (0, 0)
    if together.rank:
        torch.manual_seed(options.seed + 1000 * pool + together.rank)
    run(options, trainer, probe_rows(tokenizer, options.questions), seen, pool)


def run(options: argparse.Namespace, trainer: Trainer, asked: Any, seen: int, first: int) -> None:
    """The training loop, up to `options.tokens` true tokens in all."""
    began, start, saved, steps = time.monotonic(), seen, time.monotonic(), 0
    logged, probed, factor = seen, seen, 0.0
    end = began + 3600 * options.hours
    words = options.out / "bpe.json"
    together = trainer.together
    source = pools(
        words,
        first * together.of + together.rank,
        options.batch,
        options.seed,
        options.workers,
        options.course,
        step=together.of,
    )
    for number, batches in enumerate(source, first + 1):
        for batch in together.agree(number, batches):
            factor = rate(seen, options.tokens, options.decay)
            trainer.step(batch, factor)
            seen, steps = seen + together.total(batch.true), steps + 1
        done = seen >= options.tokens
        over = bool(together.total(done or time.monotonic() > end))
        if together.rank:
            if over:
                return
            continue
        if seen - logged >= options.log or over:
            loss, total, own = trainer.sums.tolist()
            trainer.sums.zero_()
            speed = round((seen - start) / (time.monotonic() - began))
            line = {"seen": seen, "loss": loss / steps, "own": total / max(1.0, own), "rate": factor}
            _note(options.out / "log.jsonl", line | {"per_s": speed})
            logged, steps = seen, 0
        if seen - probed >= PROBE_TOKENS or done:
            shares = probe(trainer.network, asked, 8 * options.batch)
            _note(options.out / "probes.jsonl", {"seen": seen, **shares})
            probed = seen
        if over or time.monotonic() - saved > KEEP_SECONDS:
            trainer.save(options.out / "checkpoint.pt", seen, number)
            saved = time.monotonic()
        if over:
            return


def _note(path: Path, line: dict[str, float]) -> None:
    with path.open("a") as log:
        log.write(json.dumps(line) + "\n")
    print(os.fspath(path.parent.name), line, flush=True)


if __name__ == "__main__":
    main()
