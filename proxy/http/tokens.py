"""The tokens of a prompt and the text of tokens, for clients that ask for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from proxy.codecs.base import TokenForm, Tokens
from proxy.conversation.errors import NotFound
from proxy.conversation.model_card import ModelCard
from proxy.conversation.session_id import identify
from proxy.http.bodies import off_loop
from proxy.upstreams.capabilities import Capabilities, Tokenizer

FindModel = Callable[[str], ModelCard]


def tokenizer_of(can: Capabilities, card: ModelCard) -> Tokenizer:
    """Raises NotFound where nobody here knows the model's tokens."""
    if can.tokenizer is None:
        raise NotFound(f"no tokens can be counted for {card.id}: its upstream does not tell them")
    return can.tokenizer


async def tokenize_body(form: TokenForm, body: bytes, can: Capabilities, find: FindModel) -> bytes:
    """Raises BadRequest, ModelNotFound, NotFound."""
    asked = await off_loop(form.decode_prompt, body)
    card = find(asked.request.model)
    tokenizer = tokenizer_of(can, card)
    session = identify(asked.request)
    request = replace(asked.request, model=card.id, session=session, body_bytes=len(body))
    ids = await tokenizer.tokenize(request)
    return form.encode_tokens(asked, card, Tokens(ids, await tokenizer.spell(ids)))


async def detokenize_body(form: TokenForm, body: bytes, can: Capabilities, find: FindModel) -> bytes:
    """Raises BadRequest, ModelNotFound, NotFound."""
    name, tokens = await off_loop(form.decode_tokens, body)
    return form.encode_text(await tokenizer_of(can, find(name)).detokenize(tokens))
