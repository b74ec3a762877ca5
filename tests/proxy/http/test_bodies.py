"""Compressed bodies: every POST route of every dialect reads them, and none beyond its bound."""

from __future__ import annotations

import gzip
import json
import random
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.codecs.base import Operation
from proxy.codecs.registry import CODECS
from proxy.conversation.errors import BadBody, BodyTooLarge, RequestError, UnsupportedEncoding
from proxy.http.bodies import content_encodings, decompress
from tests.proxy.codecs.ollama import NO_TLS
from tests.proxy.conftest import Stage
from tests.proxy.requests import user

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1024 * 1024
# As a body of every dialect's, since each ignores the fields of the others.
BODY = json.dumps(
    {"model": "scripted", "messages": [user("hi")], "input": "hi", "prompt": "hi", "stream": False}
).encode()
ROUTES = sorted(
    {
        route.path
        for codec in CODECS
        for route in codec.routes
        if route.method == "POST" and route.operation is not Operation.kept
    }
)


def bare_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


COMPRESS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZIP", gzip.compress),
    "gzip in two members": ("gzip", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", bare_deflate),
    "zstd": ("zstd", zstd.compress),
    "zstd in two frames": ("zstd", lambda data: zstd.compress(data[:9]) + zstd.compress(data[9:])),
    "zstd at its slowest": ("zstd", lambda data: zstd.compress(data, 19)),
    "identity": ("identity", bytes),
    "two": ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
    "two and nothing": ("zstd,identity , gzip", lambda data: gzip.compress(zstd.compress(data))),
    "three": ("gzip,deflate,zstd", lambda data: zstd.compress(zlib.compress(gzip.compress(data)))),
}


def send(stage: Stage, path: str, body: bytes, *encodings: str) -> httpx.Response:
    headers = [("content-encoding", name) for name in encodings]
    return httpx.post(stage.server.root + path, content=body, headers=headers, timeout=60, verify=NO_TLS)


@pytest.mark.parametrize("name", COMPRESS)
def test_a_compressed_body_is_read(stage: Stage, name: str) -> None:
    encodings, compress = COMPRESS[name]
    response = send(stage, "/v1/chat/completions", compress(BODY), encodings)
    assert response.json()["choices"][0]["message"]["content"] == "Hello there."


@pytest.mark.parametrize("path", ROUTES)
def test_every_route_reads_compressed_bodies(stage: Stage, path: str) -> None:
    plain = send(stage, path, BODY)
    for body, encodings in (
        (zstd.compress(BODY), ["zstd"]),
        (gzip.compress(zlib.compress(BODY)), ["deflate", "gzip"]),
    ):
        response = send(stage, path, body, *encodings)
        assert response.status_code == plain.status_code
        assert response.json().keys() == plain.json().keys()
    broken = send(stage, path, zstd.compress(BODY)[:-4], "zstd")
    assert (broken.status_code, "not valid zstd" in broken.text) == (400, True)
    unknown = send(stage, path, BODY, "br")
    assert (unknown.status_code, "gzip, deflate, zstd" in unknown.text) == (415, True)
    assert unknown.headers["accept-encoding"] == "gzip, deflate, zstd"
    large = send(stage, path, gzip.compress(bytes(5 * MIB)), "gzip")
    assert (large.status_code, f"at most {4 * MIB} bytes" in large.text) == (413, True)
    assert all(json.loads(one.content)["error"] for one in (broken, unknown, large))


def refusal(body: bytes, encodings: str, limit: int = MIB) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decompress(body, content_encodings([encodings]), limit)
    return caught.value


GZIPPED, DEFLATED, ZSTD = gzip.compress(BODY), zlib.compress(BODY), zstd.compress(BODY)
BROKEN: dict[str, tuple[str, bytes, type[RequestError], str]] = {
    "nothing": ("gzip", b"", BadBody, "not valid gzip: it ends too early"),
    "plain as gzip": ("gzip", BODY, BadBody, "not valid gzip"),
    "plain as deflate": ("deflate", BODY, BadBody, "not valid deflate"),
    "plain as zstd": ("zstd", BODY, BadBody, "not valid zstd"),
    "cut gzip": ("gzip", GZIPPED[:-1], BadBody, "it ends too early"),
    "cut deflate": ("deflate", DEFLATED[:-5], BadBody, "it ends too early"),
    "cut bare deflate": ("deflate", bare_deflate(BODY)[:-2], BadBody, "it ends too early"),
    "cut zstd": ("zstd", ZSTD[:-1], BadBody, "it ends too early"),
    "wrong checksum": ("gzip", GZIPPED[:-8] + bytes(8), BadBody, "not valid gzip"),
    "more behind gzip": ("gzip", GZIPPED + b"x", BadBody, "not valid gzip"),
    "more behind zstd": ("zstd", ZSTD + b"xxxxx", BadBody, "not valid zstd"),
    "window": ("zstd", b"\x28\xb5\x2f\xfd\x00\x88\x01\x00\x00", BadBody, "not valid zstd"),  # of 128 MiB
    "wrong order": ("gzip, zstd", gzip.compress(ZSTD), BadBody, "not valid zstd"),
    "four": ("gzip, gzip, gzip, gzip", b"", BadBody, "at most 3 content encodings, got 4"),
    "unknown": ("br", b"", UnsupportedEncoding, "'br' cannot be read here, only gzip, deflate, zstd"),
    "one unknown": ("gzip, compress", b"", UnsupportedEncoding, "'compress'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_decompressed_says_why(name: str) -> None:
    encodings, body, kind, words = BROKEN[name]
    error = refusal(body, encodings)
    assert type(error) is kind
    assert words in error.message


def gzip_bomb(mebibytes: int) -> bytes:
    """Of zeros. Its one block is repeated: to compress all of them takes seconds."""
    stream = zlib.compressobj(wbits=31)
    head = stream.compress(bytes(MIB)) + stream.flush(zlib.Z_FULL_FLUSH)
    block = stream.compress(bytes(MIB)) + stream.flush(zlib.Z_FULL_FLUSH)
    return head + block * (mebibytes - 1)


def zstd_bomb(mebibytes: int) -> bytes:
    stream = zstd.ZstdCompressor()
    return b"".join([*(stream.compress(bytes(MIB)) for _ in range(mebibytes)), stream.flush()])


BOMBS: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "gzip": ("gzip", gzip_bomb),
    "zstd": ("zstd", zstd_bomb),
    "zstd in zstd": ("zstd, zstd", lambda mebibytes: zstd.compress(zstd_bomb(mebibytes))),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_not_decompressed_beyond_the_bound(name: str) -> None:
    encodings, build = BOMBS[name]
    bomb = build(1024)
    assert len(bomb) < 2 * MIB
    tracemalloc.start()
    try:
        error = refusal(bomb, encodings, 8 * MIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(error, BodyTooLarge)
    assert peak < 10 * MIB


@pytest.mark.parametrize("name", COMPRESS)
def test_the_bound_is_exact(name: str) -> None:
    encodings, compress = COMPRESS[name]
    applied = content_encodings([encodings])
    data = random.Random(0).randbytes(MIB // 2) + bytes(MIB // 2)
    body = compress(data)
    assert decompress(body, applied, len(data) + 4096) == data  # what is compressed twice grows in between
    if applied:
        assert isinstance(refusal(body, encodings, len(data) - 1), BodyTooLarge)


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=200), name=st.sampled_from(sorted({names for names, _ in COMPRESS.values()})))
def test_any_bytes_are_read_or_refused(body: bytes, name: str) -> None:
    error = refused(body, name)
    assert error is None or error.message.startswith("the body ")


def refused(body: bytes, encodings: str) -> BadBody | BodyTooLarge | None:
    try:
        decompress(body, content_encodings([encodings]), 1000)
    except (BadBody, BodyTooLarge) as error:
        return error
    return None


@settings(max_examples=200, deadline=None)
@given(
    data=st.binary(max_size=300)
    | st.builds(lambda one, n: one * n, st.binary(max_size=9), st.integers(0, 40_000)),
    name=st.sampled_from(sorted(COMPRESS)),
)
def test_what_was_compressed_comes_back(data: bytes, name: str) -> None:
    encodings, compress = COMPRESS[name]
    assert decompress(compress(data), content_encodings([encodings]), 2**20) == data
