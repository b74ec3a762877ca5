"""Hostile requests below JSON: request lines, headers and lengths that are wrong or cut."""

from __future__ import annotations

from collections.abc import Iterator

# name, parts, whether an answer is due, whether the client then closes its side
Wire = tuple[str, tuple[bytes, ...], bool, bool]
_PATH = b"/v1/chat/completions"


def head(*lines: bytes) -> bytes:
    return b"\r\n".join([*lines, b"", b""])


def posted(body: bytes, *lines: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    return head(b"POST " + _PATH + b" " + version, b"Host: x", b"Connection: close", *lines) + body


def wire_cases(body: bytes) -> Iterator[Wire]:
    """body: of a request that is answered."""
    length = b"Content-Length: %d" % len(body)
    whole = posted(body, length)
    yield from _lines()
    yield from _lengths(body, length)
    yield from _cut(whole)
    yield "pieces of one byte", tuple(whole[at : at + 1] for at in range(len(whole))), True, False
    yield "half-closed", (whole,), True, True
    yield "half-closed 1.0", (posted(body, length, version=b"HTTP/1.0"),), True, True
    yield "1.0", (posted(body, length, version=b"HTTP/1.0"),), True, False
    streamed = body.replace(b'"stream": false', b'"stream": true')
    longer = b"Content-Length: %d" % len(streamed)
    yield "1.0 streamed", (posted(streamed, longer, version=b"HTTP/1.0"),), True, False
    yield "half-closed streamed", (posted(streamed, longer),), True, True
    yield (
        "1.0 kept alive",
        (posted(body, length, b"Connection: keep-alive", version=b"HTTP/1.0"),),
        True,
        False,
    )
    yield "two at once", (whole.replace(b"Connection: close\r\n", b"") + whole,), True, False
    yield "garbage behind", (whole + b"\x00\xff" * 500,), True, False
    yield "expects", (posted(b"", length, b"Expect: 100-continue"), body), True, False
    for upgrade in (b"websocket", b"h2c", b"TLS/1.0", b"\xff"):
        lines = (b"Connection: Upgrade", b"Upgrade: " + upgrade, b"Sec-WebSocket-Key: x", length)
        yield (
            f"upgrade to {upgrade!r}",
            (head(b"POST " + _PATH + b" HTTP/1.1", b"Host: x", *lines) + body,),
            False,
            True,
        )


_LINES: tuple[bytes, ...] = (
    *(
        b"",
        b"\r\n" * 500,
        b"\n",
        b"GET",
        b"GET /",
        b"GET / HTTP/",
        b"GET / HTTP/9.9",
        b"GET / HTTP/0.9",
        b"get / http/1.1",
    ),
    *(
        b"GET  / HTTP/1.1",
        b"GET /\tHTTP/1.1",
        b"GET / HTTP/1.1 x",
        b"G\x00T / HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
    ),
    *(
        b"GET /\xff\xfe HTTP/1.1",
        b"GET http://x/v1/models HTTP/1.1",
        b"GET * HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
    ),
    *(
        b"CONNECT x:443 HTTP/1.1",
        b"CONNECT / HTTP/1.1",
        b"GET //x:99999/ HTTP/1.1",
        b"GET ? HTTP/1.1",
        b"GET # HTTP/1.1",
    ),
    *(
        b"PRI * HTTP/2.0\r\n\r\nSM",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-x",
        b"\x05\x01\x00",
    ),
    *(
        b"QUIT",
        b"A" * 20_000,
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1",
        b"BREW / HTTP/1.1",
        b"GET http:///// HTTP/1.1",
    ),
    *(b"GET http://[::1/ HTTP/1.1", b"GET / HTTP/1.1\rHost: x", b"GET /%s%n HTTP/1.1"),
)
_HEADERS: tuple[bytes, ...] = (
    *(
        b"no colon",
        b": no name",
        b"na me: x",
        b"name : x",
        b"name:\x00x",
        b"name: a\x01b",
        b" folded: x",
        b"\tx",
    ),
    *(
        b"name: x\r\n folded",
        b"name: x\rname: y",
        b"n\xff: x",
        b"name: \xff\xfe",
        b"x" * 30_000,
        b"x: " + b"y" * 60_000,
    ),
    *(b"Host: y", b"Host: a b", b"Host:", b"Connection: x, y, close, \xff", b"Transfer-Encoding: chunked, x"),
    *(
        b"Content-Length: x",
        b"Content-Length: -5",
        b"Content-Length: 1_0",
        b"Content-Length: +5",
        b"Content-Length: 0x5",
    ),
    b"Content-Length: 99999999999999999999999999",
    b"\r\n".join(b"x%d: y" % at for at in range(3000)),
    b"\r\n".join(b"same: y" for _ in range(3000)),
)


def _lines() -> Iterator[Wire]:
    for at, line in enumerate(_LINES):
        yield f"request line {at}", (head(line, b"Host: x", b"Connection: close"),), False, True
    for at, line in enumerate(_HEADERS):
        data = head(b"GET /v1/models HTTP/1.1", b"Host: x", b"Connection: close", line)
        yield f"header line {at}", (data,), False, True
    yield "endless head", (b"GET / HTTP/1.1\r\n" + b"x: yyyyyyyy\r\n" * 100_000,), False, True
    yield "endless name", (b"GET / HTTP/1.1\r\n" + b"x" * 1_000_000,), False, True


def _lengths(body: bytes, length: bytes) -> Iterator[Wire]:
    chunk = b"%x\r\n" % len(body) + body + b"\r\n"
    chunked = b"Transfer-Encoding: chunked"
    yield "chunks", (posted(chunk + b"0\r\n\r\n", chunked),), True, False
    pieces = b"".join(b"1\r\n" + body[at : at + 1] + b"\r\n" for at in range(len(body)))
    yield "chunks of one byte", (posted(pieces + b"0\r\n\r\n", chunked),), True, False
    ends = {
        "length and chunks": ((chunked, length), chunk + b"0\r\n\r\n"),
        "chunks and length": ((length, chunked), chunk + b"0\r\n\r\n"),
        "two lengths": ((length, b"Content-Length: 5"), body),
        "the same length twice": ((length, length), body),
        "chunks twice": ((chunked, chunked), chunk + b"0\r\n\r\n"),
        "an odd coding": ((b"Transfer-Encoding: xchunked",), chunk + b"0\r\n\r\n"),
        "a hidden coding": ((b"Transfer-Encoding:\x0bchunked",), chunk + b"0\r\n\r\n"),
        "size that is none": ((chunked,), b"zz\r\n" + body),
        "size below zero": ((chunked,), b"-1\r\n" + body),
        "size without end": ((chunked,), b"f" * 40),
        "size too large": ((chunked,), b"ffffffffffffffff\r\n" + body),
        "size too small": ((chunked,), b"1\r\n" + body),
        "extension": ((chunked,), b"%x;%s\r\n" % (len(body), b"x" * 20_000) + body + b"\r\n0\r\n\r\n"),
        "no end of chunks": ((chunked,), chunk),
        "trailers": ((chunked,), chunk + b"0\r\nx: y\r\n" * 3 + b"\r\n"),
        "no length": ((), body),
        "too long": ((b"Content-Length: %d" % (len(body) + 5),), body),
        "too short": ((b"Content-Length: 5",), body),
        "far too long": ((b"Content-Length: 9999999999",), body),
        "zero": ((b"Content-Length: 0",), body),
    }
    for name, (lines, data) in ends.items():
        yield f"lengths: {name}", (posted(data, *lines),), False, True


def _cut(whole: bytes) -> Iterator[Wire]:
    """A request that ends too early: the client closes its side, or goes on no further."""
    for at in (
        1,
        5,
        30,
        60,
        whole.index(b"\r\n\r\n"),
        whole.index(b"\r\n\r\n") + 4,
        len(whole) - 10,
        len(whole) - 1,
    ):
        yield f"cut after {at}", (whole[:at],), False, True
