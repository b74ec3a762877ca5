"""Training of the bundled model: `python -m corpora.training.train OUT [--tokens N ...]`.

Muon on the matrices of the layers, Adam on embeddings and norms; constant learning rate, then a linear
decay over the last tokens, so that a run can be cut short or prolonged from its checkpoint. The first
tokens mix in repeated random spans and short single turns: that is where copying is learned.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from corpora.conversations import (
    BINDING,
    FIRST_STEPS,
    LONG,
    PARALLEL,
    PLAIN,
    Conversation,
    Difficulty,
    draw_conversation,
)
from corpora.rendering import render_spans
from corpora.slips import stumble
from corpora.training.network import Network, Shape
from corpora.training.tokenizer import train_tokenizer
from corpora.world import TOOLBOXES
from corpora.world.script import to_conversation, write_script

Row = tuple[list[int], list[float]]
LOG_STEPS = 100  # also: of a checkpoint
LEARNED = 0.33  # about the sum of the weights of a full batch, as a share of its tokens
WORLD_FROM = 24_000_000  # tokens after which half of the rows are scripts of the tool world
MENDING_FROM = (
    32_000_000  # tokens after which many turns need several calls, and some rows end in a mended slip
)
BINDING_FROM = 49_400_000  # tokens after which most requests need several calls; repeated spans come back
GROWN_FROM = 60_500_000  # tokens after which there is a layer more, and some tools answer in plain words
YOUNG_LAYERS = 5  # before that
SCRIPT_TURNS = ((1, 1), (2, 6), (7, 20), (25, 60))
SCRIPT_WEIGHTS = (40, 45, 12, 3)
BESIDE = 0.1  # loss weight of everything that the assistant did not say


def encode(tokenizer: Tokenizer, conversation: Conversation) -> Row:
    """Token ids and the loss weight of each."""
    tokens: list[int] = []
    weights: list[float] = []
    for text, learned in render_spans(conversation):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        tokens += ids
        weights += [1.0 if learned else BESIDE] * len(ids)
    return tokens, weights


def repeated_span(rng: Random, vocabulary: int) -> Row:
    """Random tokens said twice with noise between: only copying predicts the second half."""
    span = [rng.randrange(3, vocabulary - 6) for _ in range(rng.randint(10, 60))]
    noise = [rng.randrange(3, vocabulary - 6) for _ in range(rng.randint(0, 30))]
    tokens = span + noise + span
    return tokens, [0.0] * (len(span) + len(noise)) + [0.5] * len(span)


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the curriculum: difficulty, shares of repeated spans, long conversations and scripts of the
    tool world, longest row in tokens, share of conversations that end in a mended slip.
    """

    level: Difficulty
    spans: float
    long: float
    longest: int
    world: float = 0.0
    slips: float = 0.0


def stage(seen: int) -> Stage:
    """The curriculum after `seen` tokens."""
    if seen < 2_000_000:
        return Stage(FIRST_STEPS, 0.25, 0.0, 448)
    if seen < 5_000_000:
        return Stage(Difficulty(3, 3, 4, 0.3, 0.03, 0.04, 0.15), 0.05, 0.0, 576)
    if seen < 12_000_000:
        return Stage(Difficulty(), 0.02, 0.0, 768)
    if seen < WORLD_FROM:
        return Stage(Difficulty(), 0.02, 0.05, 2048)
    if seen < MENDING_FROM:
        return Stage(Difficulty(), 0.0, 0.04, 8192, world=0.5)
    if seen < BINDING_FROM:
        return Stage(PARALLEL, 0.0, 0.03, 8192, world=0.42, slips=0.1)
    if seen < GROWN_FROM:
        return Stage(BINDING, 0.25, 0.02, 8192, world=0.26, slips=0.06)
    return Stage(PLAIN, 0.25, 0.02, 8192, world=0.18, slips=0.06)


def draw_row(rng: Random, now: Stage, tokenizer: Tokenizer) -> Row | None:
    """One row of the stage; None where it came out too long. Scripts are cut off instead."""
    roll = rng.random()
    if roll < now.spans:
        return repeated_span(rng, tokenizer.get_vocab_size())
    scripted = roll < now.spans + now.world
    conversation = _script(rng) if scripted else _invented(rng, now)
    slip = stumble(rng, conversation) if rng.random() < now.slips else None
    tokens, weights = encode(tokenizer, slip or conversation)
    if len(tokens) <= now.longest:
        return tokens, weights
    return (tokens[: now.longest], weights[: now.longest]) if scripted else None


def _script(rng: Random) -> Conversation:
    turns = rng.randint(*rng.choices(SCRIPT_TURNS, SCRIPT_WEIGHTS)[0])
    return to_conversation(
        write_script(rng, rng.choice(TOOLBOXES), turns, talk_share=0.15 if turns < 3 else 0.06)
    )


def _invented(rng: Random, now: Stage) -> Conversation:
    return draw_conversation(rng, LONG if rng.random() < now.long else now.level)


def batches(tokenizer: Tokenizer, seen: int, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Rows of similar length padded together: tokens, weights (rows, length), and the true tokens so far."""
    rng = Random(seed * 1_000_003 + seen)
    while True:
        now = stage(seen)
        pool: list[Row] = []
        while sum(len(r[0]) for r in pool) < 16 * size:
            row = draw_row(rng, now, tokenizer)
            if row is not None:
                pool.append(row)
        pool.sort(key=lambda r: len(r[0]))
        groups: list[list[Row]] = [[]]
        for row in pool:
            if (len(groups[-1]) + 1) * len(row[0]) > size and groups[-1]:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        for group in groups:
            seen += sum(len(r[0]) for r in group)
            yield *_padded(group), seen


def _padded(group: list[Row]) -> tuple[Tensor, Tensor]:
    longest = max(len(r[0]) for r in group)
    tokens = torch.zeros(len(group), longest, dtype=torch.long)
    weights = torch.zeros(len(group), longest)
    for i, (ids, marks) in enumerate(group):
        tokens[i, : len(ids)] = torch.tensor(ids)
        weights[i, : len(ids)] = torch.tensor(marks)
    return tokens, weights


def loss_of(network: Network, tokens: Tensor, weights: Tensor) -> tuple[Tensor, float]:
    """Weighted cross-entropy over a fixed share of the batch, and the mean of the assistant's tokens (nats).

    The fixed divisor keeps a batch of short rows, which hold little to learn, from counting like the others.

    Of the other tokens a random quarter is scored, at four times their weight: the head costs a good part.
    """
    marks = weights[:, 1:].flatten()
    chosen = ((marks > BESIDE) | ((marks > 0) & (torch.rand_like(marks) < 0.25))).nonzero().squeeze(1)
    marks = marks[chosen]
    marks = torch.where(marks > BESIDE, marks, 4 * marks)
    with torch.autocast(tokens.device.type, dtype=torch.bfloat16):
        hidden = network(tokens[:, :-1]).flatten(0, 1)[chosen]
        logits = network.logits(hidden)
    each = F.cross_entropy(logits.float(), tokens[:, 1:].flatten()[chosen], reduction="none")
    own = each.detach()[marks == 1.0]
    return (each * marks).sum() / (LEARNED * tokens.numel()), own.mean().item() if len(own) else 0.0


def optimizers(network: Network) -> list[tuple[torch.optim.Optimizer, float]]:
    """Each optimizer with its full learning rate."""
    matrices = [p for n, p in network.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in network.named_parameters() if p.ndim != 2 or "embed" in n]
    muon = torch.optim.Muon(matrices, lr=0.015, momentum=0.95, weight_decay=0.01, adjust_lr_fn="original")
    adam = torch.optim.AdamW(others, lr=2e-3, betas=(0.9, 0.95), weight_decay=0.0)
    return [(muon, 0.015), (adam, 2e-3)]


def rate(seen: int, total: int, decay: int) -> float:
    """Learning-rate factor: short warm-up (again after growth), constant, linear to a hundredth over the last
    `decay` tokens.
    """
    fresh = seen if seen < GROWN_FROM else seen - GROWN_FROM
    warm = min(1.0, (fresh + 20_000) / 300_000)
    return warm * max(0.01, min(1.0, (total - seen) / decay))


def save(path: Path, network: Network, optims: list[torch.optim.Optimizer], seen: int) -> None:
    """A checkpoint, replaced in one step, and beside it the shape of its network."""
    path.with_name("shape.json").write_text(json.dumps(asdict(network.shape)))
    part = path.with_suffix(".part")
    state = {"network": network.state_dict(), "optimizers": [o.state_dict() for o in optims], "seen": seen}
    torch.save(state, part)
    part.replace(path)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tokens", type=int, default=74_400_000)
    parser.add_argument("--decay", type=int, default=26_000_000)
    parser.add_argument("--batch", type=int, default=4096, help="tokens of one step, padding counted")
    parser.add_argument("--seed", type=int, default=40)
    parser.add_argument("--model", type=Path, help="start from this model directory, at --seen tokens")
    parser.add_argument("--seen", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def main() -> None:
    """Train, or go on from OUT/checkpoint.pt; append one line a hundred steps to OUT/log.jsonl."""
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    tokenizer_file = options.out / "bpe.json"
    if options.model and not tokenizer_file.exists():
        shutil.copyfile(options.model / "tokenizer.json", tokenizer_file)
    if not tokenizer_file.exists():
        train_tokenizer().save(str(tokenizer_file))
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    network = Network(_shape(options, tokenizer)).to(options.device)
    tuned = optimizers(network)
    checkpoint, seen = options.out / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=options.device, weights_only=True)
        network.load_state_dict(state["network"])
        for (optimizer, _), saved in zip(tuned, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        seen = state["seen"]
    elif options.model:
        network.load_state_dict(load_file(options.model / "model.safetensors"))
        seen = options.seen
    run(options, tokenizer, network, tuned, seen)


def _shape(options: argparse.Namespace, tokenizer: Tokenizer) -> Shape:
    """Of OUT's network, of the model to start from, or of a new one."""
    kept = options.out / "shape.json"
    if kept.exists():
        return Shape(**json.loads(kept.read_text()))
    young = Shape(vocabulary=tokenizer.get_vocab_size(), layers=YOUNG_LAYERS)
    if options.model:
        config = json.loads((options.model / "config.json").read_text())
        return replace(young, layers=config["num_hidden_layers"])
    return young


def run(options: argparse.Namespace, tokenizer: Tokenizer, network: Network, tuned: Any, start: int) -> None:
    """The training loop, up to `options.tokens` true tokens in all."""
    began, sums, steps = time.monotonic(), [0.0, 0.0], 0
    for tokens, weights, seen in batches(tokenizer, start, options.batch, options.seed):
        if seen >= GROWN_FROM and network.shape.layers == YOUNG_LAYERS:
            network = network.deeper(YOUNG_LAYERS // 2 + 1)
            tuned = optimizers(network)
        factor = rate(seen, options.tokens, options.decay)
        loss, own = loss_of(network, tokens.to(options.device), weights.to(options.device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer, full in tuned:
            for group in optimizer.param_groups:
                group["lr"] = full * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        sums, steps = [sums[0] + loss.item(), sums[1] + own], steps + 1
        if steps % LOG_STEPS == 0:
            speed = (seen - start) / (time.monotonic() - began)
            line = {
                "seen": seen,
                "loss": sums[0] / LOG_STEPS,
                "own": sums[1] / LOG_STEPS,
                "rate": factor,
                "per_s": round(speed),
            }
            with (options.out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            print(line, flush=True)
            sums = [0.0, 0.0]
        done = seen >= options.tokens
        if steps % LOG_STEPS == 0 or done:
            save(options.out / "checkpoint.pt", network, [o for o, _ in tuned], seen)
        if done:
            return


if __name__ == "__main__":
    main()
