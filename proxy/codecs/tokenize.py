"""The tokens of a prompt and the text of tokens, as vLLM's servers tell them.

The Tokenizer API of https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html. llama.cpp's name
for the text, `content`, is taken too.
"""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.codecs.base import Decoded, Tokens
from proxy.codecs.fields import Fields, parse_object
from proxy.codecs.openai_completions_request import token_ids
from proxy.codecs.openai_request import decode_request
from proxy.conversation.errors import BadRequest
from proxy.conversation.model_card import ModelCard
from proxy.conversation.request import ChatRequest, RawPrompt


class TokenizeForm:
    """The bodies of /tokenize and /detokenize and their answers. The shape of a decoded prompt says whether
    each token is to be spelled too.
    """

    def decode_prompt(self, body: bytes) -> Decoded:
        """Of a text, or of a conversation with its tools, which is written with the model's chat template.
        Raises BadRequest naming the field.
        """
        fields = Fields(parse_object(body))
        spelled = fields.boolean("return_token_strs")
        for name, only in (("add_generation_prompt", True), ("continue_final_message", False)):
            if fields.boolean(name, only) is not only:
                told = f"{name}: the prompt is told as the model gets it, with {str(only).lower()} alone"
                raise BadRequest(told, param=name)
        if fields.values.get("messages") is not None:
            return Decoded(decode_request(body).request, spelled)
        return Decoded(ChatRequest(fields.string("model"), (), prompts=(_raw(fields),)), spelled)

    def encode_tokens(self, asked: Decoded, card: ModelCard, tokens: Tokens) -> bytes:
        told: dict[str, Any] = {
            "count": len(tokens.ids),
            "tokens": tokens.ids,
            "token_strs": tokens.spelled if asked.shape else None,
        }
        if card.context_length:
            told["max_model_len"] = card.context_length
        return msgspec.json.encode(told)

    def decode_tokens(self, body: bytes) -> tuple[str, tuple[int, ...]]:
        """Raises BadRequest naming the field."""
        fields = Fields(parse_object(body))
        if fields.values.get("tokens") is None:
            raise BadRequest("tokens: expected an array of token ids, got nothing", param="tokens")
        return fields.string("model"), token_ids("tokens", fields.array("tokens"))

    def encode_text(self, text: str) -> bytes:
        return msgspec.json.encode({"prompt": text, "content": text})


def _raw(fields: Fields) -> RawPrompt:
    if fields.values.get("prompt") is not None:
        return RawPrompt(fields.string("prompt"), special=fields.boolean("add_special_tokens", True))
    if fields.values.get("content") is not None:
        return RawPrompt(fields.string("content"), special=fields.boolean("add_special"))
    raise BadRequest("prompt: expected a string, or messages in its place, got nothing", param="prompt")
