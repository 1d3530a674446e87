"""``POST /tokenize`` and ``POST /detokenize``, as in vLLM."""

from __future__ import annotations

from typing import Any

from starlette.routing import Route

from paceline.errors import InvalidRequest
from paceline.server.conversation import conversation_ids
from paceline.server.exchange import Exchange
from paceline.server.routes.endpoint import route
from paceline.server.schema import DetokenizeBody, TokenizeBody
from paceline.server.service import Service
from paceline.server.tools import offered_tools


def routes(service: Service) -> list[Route]:
    async def tokenize(exchange: Exchange) -> None:
        body = await service.read(exchange, TokenizeBody)
        token_ids = await _token_ids(service, body)
        answer: dict[str, Any] = {
            "count": len(token_ids),
            "max_model_len": service.engine.info.max_model_len,
            "tokens": token_ids,
        }
        if body.return_token_strs:
            names = [service.codec.token_bytes(token_id) for token_id in token_ids]
            answer["token_strs"] = [name.decode("utf-8", "replace") for name in names]
        await exchange.send_json(answer)

    async def detokenize(exchange: Exchange) -> None:
        body = await service.read(exchange, DetokenizeBody)
        vocab_size = service.engine.info.vocab_size
        if any(not 0 <= token_id < vocab_size for token_id in body.tokens):
            raise InvalidRequest(f"every token id must be in [0, {vocab_size})", param="tokens")
        text = await service.threads.run(4 * len(body.tokens), service.codec.decode, body.tokens)
        await exchange.send_json({"prompt": text})

    return [route("POST", "/tokenize", tokenize), route("POST", "/detokenize", detokenize)]


async def _token_ids(service: Service, body: TokenizeBody) -> list[int]:
    if (body.prompt is None) == (body.messages is None):
        raise InvalidRequest("give prompt or messages", param="prompt")
    if body.messages is None:
        return await service.encode(body.prompt or "", "prompt", add_special=body.add_special_tokens is not False)
    return await conversation_ids(
        service, body.messages, offered_tools(body.tools, service.limits), body.chat_template_kwargs,
        add_generation_prompt=body.add_generation_prompt is not False,
    )  # fmt: skip
