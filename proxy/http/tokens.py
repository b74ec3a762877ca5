"""The tokens of a prompt and the text of tokens, for clients that ask for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from proxy.codecs.base import Decoded, TokenForm, Tokens
from proxy.conversation.errors import NotFound
from proxy.conversation.model_card import ModelCard
from proxy.conversation.session_id import identify
from proxy.upstreams.capabilities import Capabilities, Tokenizer

FindModel = Callable[[str], ModelCard]


def tokenizer_of(can: Capabilities, card: ModelCard) -> Tokenizer:
    """Raises NotFound where nobody here knows the model's tokens."""
    if can.tokenizer is None:
        raise NotFound(f"no tokens can be counted for {card.id}: its upstream does not tell them")
    return can.tokenizer


async def tokenize(form: TokenForm, asked: Decoded, can: Capabilities, find: FindModel) -> bytes:
    """The tokens of the prompt that a request asks for, as `form` encodes them. Raises ModelNotFound,
    NotFound.
    """
    card = find(asked.request.model)
    tokenizer = tokenizer_of(can, card)
    request = replace(asked.request, model=card.id, session=identify(asked.request))
    ids = await tokenizer.tokenize(request)
    return form.encode_tokens(asked, card, Tokens(ids, await tokenizer.spell(ids)))
