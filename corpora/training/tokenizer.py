"""The bundled model's tokenizer: byte-level BPE whose pieces are the same in a sentence and inside JSON.

White space, letters, single digits and punctuation are split apart before the merges; only the JSON
joints (`": "`, `", "`, `{"` ...) stay together. So a value has the same tokens where the user says it and
where the call repeats it, which is what lets a small model copy it.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from corpora.conversations import draw_conversation
from corpora.rendering import CHAT_TEMPLATE, MARKER_TOKENS, SPECIAL_TOKENS, render_spans

_PIECES = (
    r'"\}, "|": \{"|": \["|": \[|": "|": |", "|\{"|"\}\}|"\]\}|"\}|\["|"\]|\}\}|\]\}|'
    r"[\r\n]+| +|\p{L}+|\p{N}|[\s\S]"
)


def train_tokenizer(vocabulary: int = 2048, conversations: int = 20_000, seed: int = 40) -> Tokenizer:
    """A tokenizer of exactly `vocabulary` tokens, the special ones first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(t, special=True, normalized=False) for t in SPECIAL_TOKENS]
    markers = [AddedToken(t, special=False, normalized=False) for t in MARKER_TOKENS]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(markers),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rng = Random(seed)
    texts = ("".join(t for t, _ in render_spans(draw_conversation(rng))) for _ in range(conversations))
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens(markers)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json, its config and the chat template as transformers and mlx_lm read them."""
    from transformers import PreTrainedTokenizerFast  # heavy, and only needed here

    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        bos_token=None,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
