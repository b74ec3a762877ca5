"""`fortieth demo` as a newcomer runs it: short, in a pipe; and what is left of it after Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess

import pytest

from tests.system.conftest import COMMAND, STARTS_WITHIN_S

TURNS = 3
ENDS_WITHIN_S = 600


def test_a_short_demo_plays_the_loop_twice_and_compares() -> None:
    command = [str(COMMAND), "demo", "--turns", str(TURNS), "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=ENDS_WITHIN_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    head, off, on = re.split(r"\nguard (?:off|\w+)\n", done.stdout)
    assert "fortieth-tiny-4bit, seed 1" in head
    users = [re.findall(r"^ +user +(.+)$", part, re.MULTILINE) for part in (off, on)]
    assert users[0] == users[1]
    assert users[0]
    table = on[on.index("│") :]
    asked, valid = (re.search(rf"{row} +│ +(\d+).*│ +(\d+)", table) for row in ("asked", "valid calls"))
    assert asked
    assert valid
    for column in (1, 2):
        assert 0 <= int(valid[column]) <= int(asked[column])
        assert int(asked[column]) >= 1


@pytest.mark.parametrize("sent", [signal.SIGINT], ids=["ctrl_c"])
def test_nothing_is_left_running(sent: signal.Signals) -> None:
    command = [str(COMMAND), "demo", "--plain", "--turns", "40"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("guard off"):
                break
        os.killpg(process.pid, sent)
        process.communicate(timeout=STARTS_WITHIN_S)
    assert process.returncode == 130
    with pytest.raises(ProcessLookupError):  # no process of the group is left
        os.killpg(process.pid, 0)
