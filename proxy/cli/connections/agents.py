"""Agents: programs that are pointed at a server by variables, files and flags.

Where a client can be told of one more server, the files do that and the flags choose it, so that what the
client does without these flags stays as it was.
"""

from __future__ import annotations

from proxy.cli.connections.base import (
    CONTEXT_NUMBER,
    ClientKind,
    ClientSettings,
    ConfigFile,
    FileFormat,
    SupportedClient,
)

_CLAUDE_SETTINGS = {
    "env": {
        "ANTHROPIC_BASE_URL": "$origin",
        "ANTHROPIC_AUTH_TOKEN": "$key",
        "ANTHROPIC_MODEL": "$model",
        "ANTHROPIC_DEFAULT_OPUS_MODEL": "$model",
        "ANTHROPIC_DEFAULT_SONNET_MODEL": "$model",
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": "$model",
        "CLAUDE_CODE_AUTO_COMPACT_WINDOW": "$context",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
}
_CODEX = """\
model = "$model"
model_provider = "fortieth"
model_context_window = $context

[model_providers.fortieth]
name = "fortieth"
base_url = "$base_url"
wire_api = "responses"
http_headers = { "Authorization" = "Bearer $key" }
"""
_OPENCODE = {
    "provider": {
        "fortieth": {
            "npm": "@ai-sdk/openai-compatible",
            "name": "fortieth",
            "options": {"baseURL": "$base_url", "apiKey": "$key"},
            "models": {
                "$model": {"tool_call": True, "limit": {"context": CONTEXT_NUMBER, "output": 8192}},
            },
        }
    }
}
_PI = {
    "providers": {
        "fortieth": {
            "baseUrl": "$base_url",
            "api": "openai-completions",
            "apiKey": "$key",
            "models": [{"id": "$model", "contextWindow": CONTEXT_NUMBER, "maxTokens": 8192}],
        }
    }
}
_VIBE = """\
[[providers]]
name = "fortieth"
api_base = "$base_url"
api_key_env_var = "OPENAI_API_KEY"
api_style = "openai"
backend = "generic"

[[models]]
name = "$model"
provider = "fortieth"
alias = "fortieth"
"""
_HERMES = """\
model:
  default: "$model"
  provider: custom
  base_url: "$base_url"
  api_key: "$key"
  context_length: $context
"""
_CONTINUE = """\
name: fortieth
version: 1.0.0
schema: v1
models:
  - name: "$model"
    provider: openai
    model: "$model"
    apiBase: "$base_url"
    apiKey: "$key"
    roles: [chat]
    capabilities: [tool_use]
    defaultCompletionOptions:
      contextLength: $context
"""


def _agent(
    name: str, title: str, speaks: str, version: str, settings: ClientSettings, note: str = ""
) -> SupportedClient:
    return SupportedClient(name, title, ClientKind.agent, speaks, version, settings, note)


AGENTS = (
    _agent(
        "claude-code",
        "Claude Code",
        "messages",
        "2.1.332",
        ClientSettings(
            files=[
                ConfigFile(".claude", "fortieth.json", FileFormat.json, _CLAUDE_SETTINGS, "CLAUDE_CONFIG_DIR")
            ],
            command=["claude", "--settings", "$file"],
        ),
        "Its first request has about 25,000 tokens: the model's context has to hold more than that.",
    ),
    _agent(
        "codex",
        "Codex CLI",
        "responses",
        "0.171.0",
        ClientSettings(
            files=[ConfigFile(".codex", "fortieth.config.toml", FileFormat.whole, _CODEX, "CODEX_HOME")],
            command=["codex", "--profile", "fortieth"],
        ),
        "It offers apply_patch only for models whose names it knows.",
    ),
    _agent(
        "opencode",
        "opencode",
        "chat completions",
        "1.18.33",
        ClientSettings(
            files=[
                ConfigFile(".config", "opencode/opencode.json", FileFormat.json, _OPENCODE, "XDG_CONFIG_HOME")
            ],
            command=["opencode", "--model", "fortieth/$model"],
        ),
    ),
    _agent(
        "qwen-code",
        "Qwen Code",
        "chat completions",
        "0.24.4",
        ClientSettings(
            variables={"OPENAI_BASE_URL": "$base_url", "OPENAI_API_KEY": "$key"},
            command=["qwen", "--auth-type", "openai", "--model", "$model"],
        ),
        "Its first request has about 15,000 tokens of a large model's tokenizer.",
    ),
    _agent(
        "copilot",
        "Copilot CLI",
        "chat completions",
        "1.0.102",
        ClientSettings(
            variables={
                "COPILOT_OFFLINE": "true",
                "COPILOT_PROVIDER_BASE_URL": "$base_url",
                "COPILOT_PROVIDER_API_KEY": "$key",
                "COPILOT_MODEL": "$model",
            },
            command=["copilot"],
        ),
        "COPILOT_OFFLINE keeps it from asking its own servers for a login.",
    ),
    _agent(
        "cline",
        "Cline CLI",
        "chat completions",
        "3.0.65",
        ClientSettings(
            setup=[*"cline auth -p openai-compatible -k $key -m $model -b $base_url".split()],
            command=[*"cline -P openai-compatible -m $model".split()],
        ),
    ),
    _agent(
        "continue",
        "Continue CLI",
        "chat completions",
        "1.5.47",
        ClientSettings(
            files=[
                ConfigFile(".continue", "fortieth.yaml", FileFormat.whole, _CONTINUE, "CONTINUE_GLOBAL_DIR")
            ],
            command=["cn", "--config", "$file"],
        ),
    ),
    _agent(
        "pi",
        "pi",
        "chat completions",
        "0.73.1",
        ClientSettings(
            files=[ConfigFile(".pi/agent", "models.json", FileFormat.json, _PI, "PI_CODING_AGENT_DIR")],
            command=["pi", "--provider", "fortieth", "--model", "$model"],
        ),
    ),
    _agent(
        "mini-swe-agent",
        "mini-swe-agent",
        "chat completions",
        "2.4.6",
        ClientSettings(
            variables={
                "OPENAI_API_BASE": "$base_url",
                "OPENAI_API_KEY": "$key",
                "MSWEA_CONFIGURED": "true",
                "MSWEA_COST_TRACKING": "ignore_errors",
            },
            command=["mini", "-m", "openai/$model"],
        ),
        "MSWEA_COST_TRACKING: it stops at a model whose price it does not know.",
    ),
    _agent(
        "vibe",
        "Mistral Vibe",
        "chat completions",
        "3.0.2",
        ClientSettings(
            variables={"VIBE_ACTIVE_MODEL": "fortieth", "OPENAI_API_KEY": "$key"},
            files=[ConfigFile(".vibe", "config.toml", FileFormat.toml, _VIBE, "VIBE_HOME")],
            command=["vibe"],
        ),
    ),
    _agent(
        "hermes",
        "Hermes Agent",
        "chat completions",
        "0.19.0",
        ClientSettings(
            files=[
                ConfigFile(
                    ".hermes",
                    "profiles/fortieth/config.yaml",
                    FileFormat.whole,
                    _HERMES,
                    "HERMES_HOME",
                )
            ],
            command=[*"hermes -p fortieth".split()],
        ),
    ),
    _agent(
        "openhands",
        "OpenHands CLI",
        "chat completions",
        "1.16.0",
        ClientSettings(
            variables={
                "LLM_MODEL": "openai/$model",
                "LLM_BASE_URL": "$base_url",
                "LLM_API_KEY": "$key",
            },
            command=["openhands", "--override-with-envs"],
        ),
    ),
    _agent(
        "aider",
        "aider",
        "chat completions",
        "0.86.2",
        ClientSettings(
            variables={"OPENAI_API_BASE": "$base_url", "OPENAI_API_KEY": "$key"},
            command=[*"aider --model openai/$model --no-show-model-warnings".split()],
        ),
        "It calls no tools: its model writes edits as text, which reach it as they are.",
    ),
    _agent(
        "gptme",
        "gptme",
        "chat completions",
        "0.35.1",
        ClientSettings(
            variables={"OPENAI_BASE_URL": "$base_url", "OPENAI_API_KEY": "$key"},
            command=[*"gptme --model local/$model --tool-format tool".split()],
        ),
        "Without --tool-format tool it writes its calls as text.",
    ),
)
