"""Measures a network during training: questions kept aside, with their right calls under teacher forcing.

A call counts where every token of it, and of its end, is the network's first choice: decoding greedily then
gives just that call. Other ways to write a right call count as wrong, so that the shares are lower bounds.
The questions are not the examination's.
"""

from __future__ import annotations

import numpy as np
import torch
from tokenizers import Tokenizer

from corpora.conversations import Conversation
from corpora.questions import PARTS, Question
from corpora.training.curriculum import Row, encode, group
from corpora.training.network import Network
from corpora.world.script import to_message

PROBE_SEED = 700_040  # neither of training nor of the examination
CALLING = ("unseen", "known", "parallel", "several")


def probe_rows(tokenizer: Tokenizer, count: int) -> dict[str, list[Row]]:
    """`count` questions of each part with their answers; only the answers' tokens have a weight."""
    return {part: [_row(tokenizer, q) for q in PARTS[part](count, PROBE_SEED)] for part in CALLING}


def _row(tokenizer: Tokenizer, question: Question) -> Row:
    ids = [f"call_{i}" for i in range(len(question.expected))]
    answer = to_message(question.expected, ids)
    tokens, weights = encode(
        tokenizer, Conversation(tuple(map(dict, question.tools)), (*question.messages, answer))
    )
    return tokens, [float(weight == 1.0) for weight in weights]


@torch.no_grad()
def probe(network: Network, rows: dict[str, list[Row]], size: int) -> dict[str, float]:
    """The share of right answers of each part."""
    device = network.cos.device
    shares = {}
    for part, asked in rows.items():
        right = 0
        for batch in group(asked, size):
            tokens = torch.from_numpy(batch.tokens).to(device)
            with torch.autocast(device.type, dtype=torch.bfloat16):
                chosen = network.logits(network(tokens)).argmax(-1)
            due = torch.from_numpy(batch.weights[:, 1:] > 0).to(device)
            missed = ((chosen[:, :-1] != tokens[:, 1:]) & due).any(1)
            right += int((~missed & due.any(1)).sum())
        shares[part] = right / len(asked)
    return {part: float(np.round(share, 4)) for part, share in shares.items()}
