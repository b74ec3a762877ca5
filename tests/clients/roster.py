"""The clients: where each comes from, how it is driven, and the task that suits it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.clients.faults import COMMANDS, LOOKUP, WORDS, Task, shell

SHELL_PROMPT = "Run `sh lookup.sh north` and tell me the code that it prints."


@dataclass(frozen=True, slots=True)
class Client:
    """One client. packages: of PyPI, or of npm where `npm` is set; the first is the client itself, whose
    version is told. driver: a module of tests/clients/drivers. arguments: the driver's own. streams: whether
    it is run without a stream (False), with one (True) or both ways. seconds: one run's limit. bare: False
    for a client that speaks another API than the model server, so that it cannot be run without fortieth.
    connects: its name for `fortieth connect`, where that is another one. least_python: for its packages.
    """

    name: str
    packages: tuple[str, ...]
    driver: str
    task: Task = LOOKUP
    npm: bool = False
    arguments: tuple[str, ...] = ()
    streams: tuple[bool, ...] = (False, True)
    seconds: float = 60.0
    bare: bool = True
    connects: str = ""
    least_python: tuple[int, int] = (3, 11)
    prompt: str = "Look up the code of the book in row 7 of the shelf `north wing` and tell me the code."

    @property
    def connected_as(self) -> str:
        return self.connects or self.name

    @property
    def has_shell(self) -> bool:
        """Whether the model's calls are run in a shell, and not by a tool of ours."""
        return self.prompt == SHELL_PROMPT

    @property
    def package(self) -> str:
        """The client's own, without what it is asked for with."""
        first = self.packages[0]
        at = (
            first.find("@", 1) if self.npm else min((first.find(c) for c in "[=<>" if c in first), default=-1)
        )
        return first if at < 0 else first[:at]


ROSTER = (
    Client("openai", ("openai",), "openai_sdk"),
    Client("openai, errors told", ("openai",), "openai_sdk", arguments=("tells",), connects="openai"),
    Client("anthropic", ("anthropic",), "anthropic_sdk", bare=False),
    Client(
        "anthropic, tool runner",
        ("anthropic",),
        "anthropic_sdk",
        arguments=("runner",),
        bare=False,
        connects="anthropic",
    ),
    Client("langchain", ("langchain", "langchain-openai", "langgraph"), "langchain_agent"),
    Client("pydantic-ai", ("pydantic-ai-slim[openai]",), "pydantic_ai_agent"),
    Client("openai-agents", ("openai-agents",), "openai_agents"),
    Client(
        "smolagents",
        ("smolagents[openai]",),
        "smolagents_agent",
        task=LOOKUP.ending_with("final_answer", answer="{answer}"),
    ),
    Client("crewai", ("crewai[litellm]",), "crewai_agent"),
    Client("llama-index", ("llama-index-core", "llama-index-llms-openai-like"), "llama_index_agent"),
    Client("strands", ("strands-agents[openai]",), "strands_agent", streams=(True,)),
    Client("agno", ("agno", "openai"), "agno_agent"),
    Client("haystack", ("haystack-ai",), "haystack_agent"),
    Client("litellm", ("litellm",), "litellm_sdk"),
    Client("autogen", ("autogen-agentchat", "autogen-ext[openai]"), "autogen_agent"),
    Client("agent-framework", ("agent-framework-core", "agent-framework-openai"), "agent_framework_agent"),
    Client("google-adk", ("google-adk", "litellm"), "google_adk"),
    Client(
        "mini-swe-agent",
        ("mini-swe-agent",),
        "mini_swe_agent",
        task=shell("bash", timeout="").ending_with(
            "bash", command="echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; echo '{answer}'"
        ),
        streams=(False,),
        seconds=90,
        prompt=SHELL_PROMPT,
    ),
    Client(
        "aider",
        ("aider-chat",),
        "aider_cli",
        task=WORDS,
        streams=(True,),
        seconds=90,
        prompt="Tell me the code.",
    ),
    Client(
        "gptme",
        ("gptme",),
        "gptme_cli",
        task=shell("shell", timeout=""),
        streams=(True,),
        seconds=90,
        prompt=SHELL_PROMPT,
    ),
    Client(
        "vibe",
        ("mistral-vibe",),
        "vibe_cli",
        task=shell("bash"),
        streams=(False,),
        seconds=90,
        prompt=SHELL_PROMPT,
        least_python=(3, 12),
    ),
    Client(
        "hermes",
        ("hermes-agent",),
        "hermes_cli",
        task=shell("terminal"),
        streams=(True,),
        seconds=90,
        prompt=SHELL_PROMPT,
    ),
    Client(
        "openhands",
        ("openhands",),
        "openhands_cli",
        task=shell("terminal", security_risk="LOW"),
        streams=(False,),
        seconds=90,
        prompt=SHELL_PROMPT,
        least_python=(3, 12),
    ),
    Client("instructor", ("instructor", "openai"), "instructor_sdk", streams=(False,)),
    Client(
        "dspy",
        ("dspy",),
        "dspy_agent",
        task=replace(LOOKUP, form="[[ ## answer ## ]]\n{answer}\n\n[[ ## completed ## ]]"),
        streams=(False,),
    ),
    Client("ai-sdk", ("ai", "@ai-sdk/openai-compatible", "zod"), "ai_sdk.mjs", npm=True),
    Client("openai-node", ("openai", "zod"), "openai_node.mjs", npm=True),
    Client(
        "pi",
        ("@mariozechner/pi-coding-agent",),
        "pi_cli",
        task=shell("bash"),
        npm=True,
        streams=(True,),
        seconds=90,
        prompt=SHELL_PROMPT,
    ),
    Client(
        "opencode",
        ("opencode-ai",),
        "opencode_cli",
        task=shell("bash", description="Looks it up"),
        npm=True,
        streams=(True,),
        seconds=90,
        prompt=SHELL_PROMPT,
    ),
    Client(
        "qwen-code",
        ("@qwen-code/qwen-code",),
        "qwen_code_cli",
        task=shell("run_shell_command", is_background=False),
        npm=True,
        streams=(True,),
        seconds=90,
        prompt=SHELL_PROMPT,
    ),
    Client(
        "cline",
        ("cline",),
        "cline_cli",
        task=COMMANDS,
        npm=True,
        streams=(True,),
        seconds=90,
        prompt=SHELL_PROMPT,
    ),
    Client(
        "continue",
        ("@continuedev/cli",),
        "continue_cli",
        task=shell("Bash"),
        npm=True,
        streams=(True,),
        seconds=90,
        prompt=SHELL_PROMPT,
    ),
    Client(
        "copilot",
        ("@github/copilot",),
        "copilot_cli",
        task=shell("bash", timeout="initial_wait", description="Looks it up"),
        npm=True,
        streams=(True,),
        seconds=90,
        prompt=SHELL_PROMPT,
    ),
    Client(
        "claude-code",
        ("@anthropic-ai/claude-code",),
        "claude_code_cli",
        task=shell("Bash", description="Looks it up"),
        npm=True,
        streams=(True,),
        seconds=90,
        bare=False,
        prompt=SHELL_PROMPT,
    ),
    Client(
        "codex",
        ("@openai/codex",),
        "codex_cli",
        task=shell("exec_command", parameter="cmd", timeout="yield_time_ms"),
        npm=True,
        streams=(True,),
        seconds=90,
        bare=False,
        prompt=SHELL_PROMPT,
    ),
)
