"""The language model's part of a server: its routes, its text side, OpenAI's spelling of errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

from starlette.routing import BaseRoute

from paceline.llm.chat import ChatTemplate
from paceline.llm.model.generation import read_generation
from paceline.llm.tokenizer import Tokenizer
from paceline.server.exchange import Exchange
from paceline.server.faults import Fault
from paceline.server.metrics import Metrics
from paceline.server.part import at_once
from paceline.server.port import LanguageEngine
from paceline.server.routes import chat, completions, models, speculation, tokens
from paceline.server.serve import ServeOptions
from paceline.server.service import Service

_GROUPS = (completions, chat, models, tokens, speculation)


@final
class LanguagePart:
    """One language model behind the OpenAI API. It answers for every path that no other part claims."""

    prefix = ""

    def __init__(self, service: Service) -> None:
        self.service = service

    @property
    def engine(self) -> LanguageEngine:
        return self.service.engine

    def routes(self) -> Sequence[BaseRoute]:
        return [route for group in _GROUPS for route in group.routes(self.service)]

    def about(self) -> Mapping[str, object]:
        return {"model": self.service.model_name}

    def spell(self, fault: Fault) -> bytes:
        return fault.body()

    def rejected(self, exchange: Exchange, code: str) -> None:
        self.service.metrics.rejected(code)

    async def metrics(self) -> bytes:
        stats = await at_once(self.engine.stats())
        return self.service.metrics.render(stats, self.engine.num_restarts, self.service.metrics_compat)

    def close(self) -> None:
        self.service.threads.close()


def open_language(options: ServeOptions, engine: LanguageEngine, folder: Path, model_name: str) -> LanguagePart:
    """The model's text side beside its engine. ModelError if the folder lacks it."""
    tokenizer = Tokenizer.from_folder(folder)
    return LanguagePart(
        Service(
            engine=engine,
            codec=tokenizer,
            template=ChatTemplate.from_folder(folder, tokenizer),
            defaults=read_generation(folder),
            limits=options.limits,
            metrics=Metrics(model_name),
            model_name=model_name,
            metrics_compat=options.metrics_compat,
        )
    )
