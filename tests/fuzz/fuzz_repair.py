"""The coverage-guided fuzzer of repair/: `make fuzz [SECONDS=1200]`.

atheris (libFuzzer) mutates bytes and keeps what reaches new code. The bytes choose a wire format, a finish
reason, a policy, the places where the stream is cut, and the text. Seeds are the corpus's own cases.
A crash leaves its input in the working folder; give that file as an argument to see it again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["repair"]):
    from repair.formats import FORMATS
    from repair.turn import TurnPolicy
    from tests.fuzz.checks import check

NAMES = ("auto", *FORMATS)
FINISHES = ("stop", "length", None)
POLICIES = (
    TurnPolicy(),
    TurnPolicy(tool_choice="required"),
    TurnPolicy(parallel=False),
    TurnPolicy(enabled=False),
)
CASES = Path(__file__).parents[2] / "corpora" / "cases"
HEAD = 6  # bytes before the text: format, finish, policy, three cuts


def test_one_input(data: bytes) -> None:
    """One input of libFuzzer."""
    if len(data) < HEAD:
        return
    kind, finish, policy, *cuts = data[:HEAD]
    text = data[HEAD:].decode("utf-8", "replace")
    places = [cut * len(text) // 256 for cut in cuts]
    check(text, places, NAMES[kind % len(NAMES)], FINISHES[finish % 3], POLICIES[policy % len(POLICIES)])


def write_seeds(folder: Path) -> None:
    """One file for each case of the corpus, under the format that its file is named for."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(CASES.glob("*.jsonl")):
        kind = NAMES.index(source.stem) if source.stem in NAMES else 0
        for number, line in enumerate(source.read_text("utf-8").splitlines()):
            text = json.loads(line)["text"].encode("utf-8", "replace")
            (folder / f"{source.stem}-{number}").write_bytes(bytes([kind, 0, 0, 60, 120, 200]) + text)


def write_dictionary(path: Path) -> None:
    """Every marker of every format, for libFuzzer to insert."""
    literals = {literal for one in FORMATS.values() for literal in (*one.OPENERS, *one.CLOSERS)}
    literals |= {
        '{"name": "get_weather", "arguments": {',
        '"city": "Oslo"',
        "get_weather",
        "</think>",
        "<think>",
    }
    encoded = ("".join(f"\\x{byte:02x}" for byte in literal.encode()) for literal in sorted(literals))
    path.write_text("".join(f'"{one}"\n' for one in encoded))


def main() -> None:
    runs = Path("runs/fuzz")
    write_seeds(runs / "seeds")
    (runs / "found").mkdir(exist_ok=True)
    write_dictionary(runs / "markers.dict")
    folders = [] if any(Path(one).is_file() for one in sys.argv[1:]) else [runs / "found", runs / "seeds"]
    options = [f"-dict={runs / 'markers.dict'}", "-max_len=2000", "-timeout=10", "-rss_limit_mb=4000"]
    atheris.Setup([*sys.argv, *options, *map(str, folders)], test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
