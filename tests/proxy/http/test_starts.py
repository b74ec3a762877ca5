"""Where others install, and how: each start comes up, or ends with one line that says what to do."""

from __future__ import annotations

import os
import pwd
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from proxy.cli.main import cli
from tests.engine.tiny import make_model

ROOT = Path(__file__).parents[3]
COMMAND = (sys.executable, "-m", "fortieth")
FINITE = "must be a finite number"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny", context=1024)


REFUSED: dict[str, tuple[Sequence[str], dict[str, str], str]] = {
    "infinite_disk": ((), {"FORTIETH_CACHE_DISK_GB": "inf"}, f"FORTIETH_CACHE_DISK_GB: {FINITE}, got 'inf'"),
    "no_number_of_memory": ((), {"FORTIETH_CACHE_RAM_GB": "nan"}, f"FORTIETH_CACHE_RAM_GB: {FINITE}"),
    "infinite_time": ((), {"FORTIETH_REQUEST_TIMEOUT_S": "inf"}, f"FORTIETH_REQUEST_TIMEOUT_S: {FINITE}"),
    "no_number_of_time": ((), {"FORTIETH_REASK_SECONDS": "nan"}, f"FORTIETH_REASK_SECONDS: {FINITE}"),
    "no_number_of_wait": ((), {"FORTIETH_STREAM_INTERVAL_MS": "nan"}, f"_STREAM_INTERVAL_MS: {FINITE}"),
    "huge_batch": (("--max-batch", "9" * 30), {}, "--max-batch: must be less than or equal to"),
    "huge_context": (("--context-limit", "9" * 30), {}, "--context-limit: must be less than"),
    "huge_disk": ((), {"FORTIETH_CACHE_DISK_GB": "1e300"}, "FORTIETH_CACHE_DISK_GB: must be less"),
    "huge_ledger": ((), {"FORTIETH_LEDGER_MB": "9" * 30}, "FORTIETH_LEDGER_MB: must be less"),
    "more_than_the_memory": (
        (),
        {"FORTIETH_CACHE_RAM_GB": "1e6"},
        "GB of memory, got 1e+06; the default",
    ),
    "no_such_home": (("~nobody-at-all/model",), {}, "~nobody-at-all/model: there is no home folder of"),
    "no_home_for_the_cache": (("--cache-dir", "~nobody-at-all/x"), {}, "--cache-dir: there is no home"),
    "name_of_a_novel": (("n" * 5000,), {}, "cannot be read: File name too long"),
    "unreadable_prompts": (("--warm-prompts", "/"), {}, "/ cannot be read"),
    "unreadable_settings": (("--config", "/"), {}, "/ cannot be read"),
    "ledger_in_no_folder": (("--ledger", "/dev/null/x"), {}, "/dev/null/x: cannot be used as a ledger"),
}


@pytest.mark.parametrize(("arguments", "env", "words"), REFUSED.values(), ids=REFUSED)
def test_a_refused_setting_is_one_line(arguments: Sequence[str], env: dict[str, str], words: str) -> None:
    done = CliRunner().invoke(cli, ["serve", "--port", "0", *arguments], env=env)
    wrong_setting = bool(env) or words.startswith("--") or "--config" in arguments
    assert (done.exit_code, done.stdout) == (2 if wrong_setting else 1, "")
    assert isinstance(done.exception, SystemExit), done.exception
    (line,) = done.stderr.splitlines()
    assert line.startswith("fortieth: ")
    assert words in line


def test_a_file_that_may_not_be_read(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may read everything, as root may, has no other way to see it."""
    folder = shutil.copytree(model, tmp_path / "model")
    readable = os.access

    def access(path: Path, mode: int) -> bool:
        return Path(path).name != "model.safetensors" and readable(path, mode)

    monkeypatch.setattr(os, "access", access)
    done = CliRunner().invoke(cli, ["serve", "--port", "0", str(folder)])
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        f"fortieth: {folder / 'model.safetensors'} cannot be read by this user"
    ]


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def listdir(path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", listdir)
    done = CliRunner().invoke(cli, ["serve", "--port", "0", str(tmp_path)])
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [f"fortieth: {tmp_path} cannot be read: Permission denied"]


def test_a_user_without_a_home_has_no_cache_on_disk(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def nobody(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME", "FORTIETH_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    done = CliRunner().invoke(cli, ["serve", "--port", "0", "./nowhere"])
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1), "of the model alone"
    assert "this user has no home folder: name a folder with --cache-dir" in caplog.text


@contextmanager
def started(
    *arguments: str, before: Callable[[], None] | None = None, **env: str
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", "--cache-dir", "off", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **env},
        preexec_fn=before,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def base_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stdout:
        if "base_url" in line:
            return line.split()[1]
    raise AssertionError(process.stderr.read())


def ended(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> list[str]:
    """Asks it to end; what it had said on standard error."""
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return said.splitlines()


def ignore_hangups() -> None:
    """As nohup does."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def test_names_of_others_do_no_harm(model: Path, tmp_path: Path) -> None:
    """Packages of our names ahead of ours, and a package of a name of Python's beside ours. Under nohup."""
    for name in ("proxy", "engine", "repair"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('somebody else')")
    (tmp_path / "dataclasses.py").write_text("raise SystemExit('of Python 3.6')")
    # as site-packages has them: behind Python's own modules
    tail = f"import sys; sys.path.append({str(tmp_path)!r})"
    (tmp_path / "sitecustomize.py").write_text(tail)
    ahead = tmp_path / "ahead"
    ahead.mkdir()
    for name in ("proxy", "engine", "repair", "sitecustomize.py"):
        (ahead / name).symlink_to(tmp_path / name)
    with started(str(model), before=ignore_hangups, PYTHONPATH=str(ahead)) as process:
        url = base_url(process)
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert httpx.get(url + "/models").status_code == 200
        assert ended(process) == []


def test_a_module_of_python_that_is_hidden_is_named(tmp_path: Path) -> None:
    (tmp_path / "dataclasses.py").write_text("from __future__ import nothing")
    with started(PYTHONPATH=str(tmp_path)) as process:
        out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    (line,) = said.splitlines()
    assert line.startswith("fortieth: cannot start: ")
    assert f"PYTHONPATH hides modules of Python itself: {tmp_path / 'dataclasses.py'}" in line


def few_in_the_background() -> None:
    """64 files at most, and SIGINT ignored, as a shell without job control has it behind an `&`."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def connected(port: int, count: int) -> Iterator[list[socket.socket]]:
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    try:
        yield sockets
    finally:
        for one in sockets:
            one.close()


def test_few_descriptors(model: Path) -> None:
    """It comes up below the 4096 that mlx_lm asks for, and tells when all are used. SIGINT ends it."""
    with started(str(model), before=few_in_the_background) as process:
        url = base_url(process)
        with connected(int(url.split(":")[2].split("/")[0]), 80):
            assert process.stderr is not None
            line = process.stderr.readline()
        assert "all 64 files that this process may have open are open" in line
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                assert httpx.get(url + "/models").status_code == 200
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        assert ended(process, signal.SIGINT) == [], "told once"


def raised() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests that run under nohup pass its neglect on
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def test_the_soft_limit_is_raised(model: Path) -> None:
    """And a terminal that closes ends the server as a signal of the operator does."""
    with started(str(model), before=raised) as process:
        url = base_url(process)
        with connected(int(url.split(":")[2].split("/")[0]), 80):
            assert httpx.get(url + "/models", timeout=20).status_code == 200
        assert ended(process, signal.SIGHUP) == []


def close(numbers: Sequence[int]) -> None:
    for number in numbers:
        os.close(number)


@pytest.mark.parametrize("numbers", [(0, 1), (2,)], ids=["input_and_output", "error"])
def test_closed_standard_streams(model: Path, numbers: tuple[int, ...]) -> None:
    """A socket must not get such a number: what libraries print would go to a client."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with started(str(model), "--port", port, before=lambda: close(numbers)) as process:
        deadline = time.monotonic() + 60
        while True:
            try:
                assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert ended(process) == []


@pytest.mark.parametrize(("number", "name"), [(0, "input"), (1, "output")])
def test_repair_needs_its_streams(number: int, name: str) -> None:
    done = subprocess.run(
        [*COMMAND, "repair"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: os.close(number),
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, f"fortieth: repair: the standard {name} is closed\n")


def test_a_log_that_nobody_reads_holds_nothing_up(model: Path) -> None:
    """Both processes write to a pipe that is full."""
    with started(str(model), "--log-level", "debug") as process:
        url = base_url(process)
        assert process.stderr is not None
        body = {"messages": [{"role": "user", "content": "x" * 200}], "max_tokens": 1}
        for _ in range(40):  # a pipe holds 64 KiB
            assert httpx.get(url + "/" + "y" * 4000, timeout=20).status_code == 404
            assert httpx.post(url + "/chat/completions", json=body, timeout=20).status_code == 200
        assert select.select([process.stderr], [], [], 0)[0]
        process.terminate()
        deadline = time.monotonic() + 30
        while process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert process.returncode == 0
        assert process.stderr.read().count("y" * 4000) < 40, "the pipe was full"
