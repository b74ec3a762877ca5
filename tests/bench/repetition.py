"""Which real texts would be taken for a repetition: `python -m tests.bench.repetition [FOLDER...]`.

Reads every text file in the folders (the Python that runs this and its packages, where none is given), and
texts made here: tables, logs, base64 of random and of structured data. Each goes through the rule token by
token and character by character; so that a margin shows, also through rules that stop at a half and a quarter
of the length.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer

from engine.repetition import CHARACTERS, TOKENS, RepetitionRule, TextRepetition, TokenRepetition
from engine.resolve import BUNDLED, MODELS

ENDINGS = frozenset(
    ".py .pyi .md .rst .txt .json .csv .tsv .html .js .css .c .h .hpp .toml .cfg .yml .yaml .xml .svg".split()
    + ".sql .sh .ts .go .rs .java .pl .tex".split()
)
LONGEST = 400_000  # characters of a file
PARTS = (1, 2, 4)


def shortened(rule: RepetitionRule, part: int) -> RepetitionRule:
    return RepetitionRule(rule.longest // part, rule.least // part, rule.times, max(1, rule.every // part))


def files(folders: list[Path], most: int) -> Iterator[tuple[str, str]]:
    """(kind, text); `most` of each ending, drawn by a fixed seed."""
    found: dict[str, list[Path]] = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.suffix in ENDINGS and path.is_file():
                found.setdefault(path.suffix, []).append(path)
    for suffix, paths in sorted(found.items()):
        for path in random.Random(1).sample(sorted(paths), min(most, len(paths))):
            try:
                text = path.read_text("utf-8")[:LONGEST]
            except (OSError, UnicodeDecodeError):
                continue
            yield suffix, text


def made(count: int) -> Iterator[tuple[str, str]]:
    """Texts that agents write and that look alike line by line."""
    for number in range(count):
        rng = random.Random(number)
        size = rng.randint(20, 400)
        yield "base64, random", base64.b64encode(rng.randbytes(12_000)).decode()
        records = b"".join(
            n.to_bytes(4, "little") + bytes(rng.randint(4, 28)) + rng.randbytes(2) for n in range(400)
        )
        yield "base64, records", base64.b64encode(records).decode()
        rows = [f"| {n} | item {n} | {rng.choice(('yes', 'no'))} | 0.00 |" for n in range(size)]
        yield "table, Markdown", "\n".join(("| a | b | c | d |", "|---|---|---|---|", *rows))
        yield "table, CSV", "\n".join(f"{n},{rng.randint(0, 9)},0,0,0,0,0" for n in range(size))
        yield "JSON list", json.dumps([{"id": n, "tags": [], "ok": True} for n in range(size)], indent=1)
        matrix = [[int(i == j) for j in range(24)] for i in range(24)]
        yield "unit matrix", json.dumps(matrix)
        yield "log", "\n".join(f"2026-01-01T00:{n // 60:02}:{n % 60:02} INFO ok" for n in range(size))


def repeats_tokens(ids: list[int], rule: RepetitionRule) -> bool:
    watched = TokenRepetition(rule)
    return any(watched.push(id) for id in ids)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--tokenizer", type=Path, default=MODELS / BUNDLED[0] / "tokenizer.json")
    parser.add_argument("--most", type=int, default=1000, help="files of each kind")
    options = parser.parse_args()
    folders = options.folders or [Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))]
    tokenizer = Tokenizer.from_file(str(options.tokenizer))
    texts, tokens, fired = Counter[str](), Counter[str](), Counter[tuple[str, str, int]]()
    for kind, text in (*made(50), *files(folders, options.most)):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        texts[kind] += 1
        tokens[kind] += len(ids)
        for part in PARTS:
            fired[kind, "tokens", part] += repeats_tokens(ids, shortened(TOKENS, part))
            fired[kind, "characters", part] += TextRepetition(shortened(CHARACTERS, part)).push(text)
    print(f"{options.tokenizer}, {', '.join(map(str, folders))}", file=sys.stderr)
    print("| kind | texts | tokens | stopped by tokens (at half, a quarter) | by characters |")
    print("|---|---|---|---|---|")
    for kind in texts:
        by = [
            "{} ({}, {})".format(*(fired[kind, unit, part] for part in PARTS))
            for unit in ("tokens", "characters")
        ]
        print(f"| {kind} | {texts[kind]} | {tokens[kind]:,} | {by[0]} | {by[1]} |")
    print(f"| together | {texts.total()} | {tokens.total():,} | | |")


if __name__ == "__main__":
    main()
