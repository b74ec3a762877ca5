"""SDKs and frameworks: the lines of code that make their client or model object.

Those that would speak another API by default are told to use the one that they are listed with.
"""

from __future__ import annotations

from proxy.cli.connections.base import ClientKind, ClientSettings, SupportedClient

_OPENAI = """\
from openai import OpenAI

client = OpenAI(base_url="$base_url", api_key="$key")
model = "$model"
"""
_ANTHROPIC = """\
from anthropic import Anthropic

client = Anthropic(base_url="$origin", api_key="$key")
model = "$model"
"""
_LANGCHAIN = """\
from langchain_openai import ChatOpenAI

model = ChatOpenAI(model="$model", base_url="$base_url", api_key="$key")
"""
_PYDANTIC_AI = """\
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

model = OpenAIChatModel("$model", provider=OpenAIProvider(base_url="$base_url", api_key="$key"))
"""
_OPENAI_AGENTS = """\
from agents import OpenAIChatCompletionsModel
from openai import AsyncOpenAI

client = AsyncOpenAI(base_url="$base_url", api_key="$key")
model = OpenAIChatCompletionsModel(model="$model", openai_client=client)
"""
_SMOLAGENTS = """\
from smolagents import OpenAIModel

model = OpenAIModel("$model", api_base="$base_url", api_key="$key")
"""
_CREWAI = """\
from crewai import LLM

model = LLM("openai/$model", base_url="$base_url", api_key="$key")
"""
_LLAMA_INDEX = """\
from llama_index.llms.openai_like import OpenAILike

model = OpenAILike(
    model="$model",
    api_base="$base_url",
    api_key="$key",
    is_chat_model=True,
    is_function_calling_model=True,
    context_window=$context,
)
"""
_STRANDS = """\
from strands.models.openai import OpenAIModel

model = OpenAIModel(client_args={"base_url": "$base_url", "api_key": "$key"}, model_id="$model")
"""
_AGNO = """\
from agno.models.openai.like import OpenAILike

model = OpenAILike(id="$model", base_url="$base_url", api_key="$key")
"""
_HAYSTACK = """\
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.utils import Secret

model = OpenAIChatGenerator(api_key=Secret.from_token("$key"), model="$model", api_base_url="$base_url")
"""
_LITELLM = """\
from functools import partial

import litellm

completion = partial(litellm.completion, "openai/$model", api_base="$base_url", api_key="$key")
"""
_AUTOGEN = """\
from autogen_core.models import ModelFamily, ModelInfo
from autogen_ext.models.openai import OpenAIChatCompletionClient

info = ModelInfo(
    vision=False,
    function_calling=True,
    json_output=True,
    structured_output=True,
    family=ModelFamily.UNKNOWN,
)
model = OpenAIChatCompletionClient(
    model="$model", base_url="$base_url", api_key="$key", model_info=info
)
"""
_AGENT_FRAMEWORK = """\
from agent_framework.openai import OpenAIChatCompletionClient

model = OpenAIChatCompletionClient(model="$model", base_url="$base_url", api_key="$key")
"""
_GOOGLE_ADK = """\
from google.adk.models.lite_llm import LiteLlm

model = LiteLlm(model="openai/$model", api_base="$base_url", api_key="$key")
"""
_INSTRUCTOR = """\
import instructor
from openai import OpenAI

client = instructor.from_openai(OpenAI(base_url="$base_url", api_key="$key"), mode=instructor.Mode.TOOLS)
model = "$model"
"""
_DSPY = """\
import dspy


class ToolCallingLM(dspy.LM):
    supports_function_calling = True  # which DSPy believes only of models that it knows by name


model = ToolCallingLM("openai/$model", api_base="$base_url", api_key="$key")
"""
_AI_SDK = """\
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";

const fortieth = createOpenAICompatible({ name: "fortieth", baseURL: "$base_url", apiKey: "$key" });
export const model = fortieth("$model");
"""
_OPENAI_NODE = """\
import OpenAI from "openai";

export const client = new OpenAI({ baseURL: "$base_url", apiKey: "$key" });
export const model = "$model";
"""


def _library(
    name: str, title: str, version: str, code: str, note: str = "", speaks: str = "chat completions"
) -> SupportedClient:
    return SupportedClient(name, title, ClientKind.library, speaks, version, ClientSettings(code=code), note)


LIBRARIES = (
    _library("openai", "openai for Python", "3.57.0", _OPENAI),
    _library("openai-node", "openai for JavaScript", "7.59.0", _OPENAI_NODE),
    _library("anthropic", "anthropic for Python", "2.14.0", _ANTHROPIC, speaks="messages"),
    _library("litellm", "LiteLLM", "1.110.2", _LITELLM),
    _library("langchain", "LangChain", "1.5.2", _LANGCHAIN),
    _library(
        "pydantic-ai",
        "Pydantic AI",
        "2.68.0",
        _PYDANTIC_AI,
        "The prefix `openai:` of a model's name would choose the Responses API.",
    ),
    _library("openai-agents", "OpenAI Agents SDK", "0.24.0", _OPENAI_AGENTS),
    _library("smolagents", "smolagents", "1.26.0", _SMOLAGENTS),
    _library("crewai", "CrewAI", "1.15.30", _CREWAI),
    _library("llama-index", "LlamaIndex", "0.14.25", _LLAMA_INDEX),
    _library("strands", "Strands Agents", "1.62.0", _STRANDS),
    _library("agno", "Agno", "3.1.10", _AGNO),
    _library("haystack", "Haystack", "3.4.1", _HAYSTACK),
    _library("autogen", "AutoGen", "0.7.5", _AUTOGEN),
    _library("agent-framework", "Microsoft Agent Framework", "1.23.0", _AGENT_FRAMEWORK),
    _library("google-adk", "Google ADK", "2.13.0", _GOOGLE_ADK),
    _library("instructor", "Instructor", "1.17.0", _INSTRUCTOR),
    _library("dspy", "DSPy", "3.4.1", _DSPY),
    _library(
        "ai-sdk",
        "AI SDK",
        "7.0.173",
        _AI_SDK,
        "createOpenAI would choose the Responses API.",
    ),
)
