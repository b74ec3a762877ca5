"""Arms of an A/B run, as the command line names them: an address, a recipe, or a command."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ModelNotFound
from engine.resolve import BUNDLED, bundled, resolve_model
from proxy.conversation.errors import SettingsError, StartError

PORT, MODEL, UPSTREAM = "{port}", "{model}", "{upstream}"
SHORT_KEYS = {"kv": "kv_at_rest"}
# At 4 bits and a high temperature the bundled model breaks calls, as larger ones do; in full it hardly does.
DEFAULT_BITS = "4"
BITS = {"full": BUNDLED[0], "8": BUNDLED[1], "4": BUNDLED[2]}
_OPTIONS = re.compile(r"[a-z][a-z0-9_]*=[^,]+(?:,[a-z][a-z0-9_]*=[^,]+)*")
# The name that a server takes for the model that it was started with, where its list of models does not tell.
_ASKED_BY_PATH = frozenset({"mlx-lm"})


@dataclass(frozen=True, slots=True)
class Arm:
    """One server of the comparison.

    name: as on the command line.
    label: unlike those of the other arms; in tables and files.
    base_url: of a server that runs already; "" where the arm is started.
    command: of a server that is started; {model}, {port} and {upstream} are filled in.
    settings: of a fortieth that is started, as keys and values of a settings file.
    model: the model's directory or file; "" where the arm has none.
    asked_as: the model's name in requests; "" for the first one that the server lists.
    """

    name: str
    label: str
    base_url: str = ""
    command: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    model: str = ""
    asked_as: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether the arm is a fortieth that is started for the run."""
        return not self.base_url and not self.command

    @property
    def takes_upstream(self) -> bool:
        """Whether it can be started in front of another server."""
        return self.is_ours or any(UPSTREAM in part for part in self.command)


def read_arms(names: Sequence[str], model: str | None) -> tuple[Arm, ...]:
    """The arms of a run, in order, with labels of their own. model: for recipes and commands that take one.

    Raises StartError for an arm that cannot be read, and for a model that no arm takes.
    """
    labels = [
        name if names.count(name) == 1 else f"{name} #{names[: at + 1].count(name)}"
        for at, name in enumerate(names)
    ]
    arms = tuple(read_arm(name, label, model) for name, label in zip(names, labels, strict=True))
    if model is not None and not any(MODEL in part for arm in arms for part in arm.command):
        raise SettingsError(f"--model is for recipes and for commands with {MODEL}, and there is none")
    return arms


def read_arm(name: str, label: str, model: str | None) -> Arm:
    """Reads one arm. Raises StartError."""
    if re.match(r"https?://", name):
        address, _, asked_as = name.partition("#")
        return Arm(name, label, base_url=address.rstrip("/"), asked_as=asked_as)
    if PORT in name:
        return _command(name, label, shlex.split(name), model)
    head, options = split_options(name)
    if head == "bundled":
        bits = options.pop("bits", DEFAULT_BITS)
        if bits not in BITS:
            raise SettingsError(f"arm {name}: bits must be full, 8 or 4, got {bits}")
        return Arm(name, label, settings=_settings(options), model=_found(name, BITS[bits]))
    if head in RECIPES:
        return _recipe(name, label, head, options, model)
    if "/" in head or Path(head).is_dir():
        return Arm(name, label, settings=_settings(options), model=_found(name, head))
    known = ", ".join(["bundled", *RECIPES])
    raise SettingsError(
        f"arm {name}: it is no base_url, no model directory, no command with {PORT} and no recipe ({known})"
    )


def split_options(name: str) -> tuple[str, dict[str, str]]:
    """A recipe and its options: `bundled:guard=off,kv=q8`."""
    head, colon, tail = name.rpartition(":")
    if not colon or not _OPTIONS.fullmatch(tail):
        return name, {}
    pairs = (part.split("=", 1) for part in tail.split(","))
    return head, {SHORT_KEYS.get(key, key): value for key, value in pairs}


def _settings(options: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(options.items())


def _found(name: str, model: str) -> str:
    try:
        return str(resolve_model(model))
    except ModelNotFound as error:
        raise StartError(f"arm {name}: {error}") from error


def _model(name: str, model: str | None) -> str:
    """The model of an arm that does not name one; the bundled one by default."""
    return str(bundled(BITS[DEFAULT_BITS])) if model is None else _found(name, model)


def _command(name: str, label: str, parts: Sequence[str], model: str | None) -> Arm:
    held = _model(name, model) if any(MODEL in part for part in parts) else ""
    return Arm(name, label, command=tuple(parts), model=held)


def _recipe(name: str, label: str, head: str, options: dict[str, str], model: str | None) -> Arm:
    folder, arguments = options.pop("bin", ""), shlex.split(options.pop("args", ""))
    if options:
        raise SettingsError(f"arm {name}: {head} has the options bin and args, got {next(iter(options))}")
    held = model if head == "llama-cpp" and model else _model(name, model)
    command = (*RECIPES[head](name, folder), *arguments)
    return Arm(name, label, command=command, model=held, asked_as=held if head in _ASKED_BY_PATH else "")


def _program(name: str, folder: str, program: str) -> str:
    """The path of a program: in the folder of the option `bin`, else on the PATH."""
    found = shutil.which(program, path=folder or None)
    if found is None:
        raise SettingsError(
            f"arm {name}: there is no {program} in {folder}"
            if folder
            else f"arm {name}: {program} is not on the PATH; the option bin=FOLDER names its folder"
        )
    return found


# Without these both hand out calls as text where they do not know the model; `auto` tries all their parsers.
_TOOLS = ("--enable-auto-tool-choice", "--tool-call-parser", "auto")


def _mlx_lm(name: str, folder: str) -> tuple[str, ...]:
    python = _program(name, folder, "python") if folder else sys.executable
    return (python, "-m", "mlx_lm", "server", "--model", MODEL, "--port", PORT)


def _vllm_mlx(name: str, folder: str) -> tuple[str, ...]:
    program = _program(name, folder, "vllm-mlx")
    return (program, "serve", MODEL, "--port", PORT, "--continuous-batching", *_TOOLS)


def _rapid_mlx(name: str, folder: str) -> tuple[str, ...]:
    return (_program(name, folder, "rapid-mlx"), "serve", MODEL, "--port", PORT, "--no-preflight", *_TOOLS)


def _llama_cpp(name: str, folder: str) -> tuple[str, ...]:
    return (_program(name, folder, "llama-server"), "--model", MODEL, "--port", PORT, "--jinja")


RECIPES: Mapping[str, Callable[[str, str], tuple[str, ...]]] = {
    "mlx-lm": _mlx_lm,
    "vllm-mlx": _vllm_mlx,
    "rapid-mlx": _rapid_mlx,
    "llama-cpp": _llama_cpp,
}
