"""Takes a request's body out of the content encodings that it was sent in, within a bound.

The names are those of https://www.rfc-editor.org/rfc/rfc9110#section-8.4. Codex sends zstd, others gzip.
Nothing is decompressed further than to the bound.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from proxy.conversation.errors import BadBody, BodyTooLarge, UnsupportedEncoding

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Bytes that go into a decompressor, and at most come out of it, in one step.
_STEP = 64 * 1024
# A body in more of them is no client's doing, and each costs as much as a body of the longest kind.
_MOST_ENCODINGS = 3
_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's numbers for the three forms of deflated data
# https://www.rfc-editor.org/rfc/rfc9659#section-3: eight megabytes are the largest window of a body
_ZSTD_OPTIONS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}


class _TooShort(Exception):
    def __init__(self) -> None:
        super().__init__("it ends too early")


def content_encodings(headers: Iterable[str]) -> tuple[str, ...]:
    """In the order in which they were applied. headers: the values of each Content-Encoding of a request.

    Raises UnsupportedEncoding, and BadBody for too many.
    """
    named = [name.strip().lower() for value in headers for name in value.split(",")]
    applied = tuple(name for name in named if name not in ("", "identity"))
    for name in applied:
        if name not in _READERS:
            raise UnsupportedEncoding(name, ENCODINGS)
    if len(applied) > _MOST_ENCODINGS:
        raise BadBody(f"the body must have at most {_MOST_ENCODINGS} content encodings, got {len(applied)}")
    return applied


def decompress(body: bytes, encodings: Sequence[str], limit: int) -> bytes:
    """encodings: as content_encodings() gives them. limit: bytes, of what each of them becomes.

    Raises BodyTooLarge and BadBody.
    """
    for name in reversed(encodings):
        parts: list[bytes] = []
        size = 0
        try:
            for part in _READERS[name](body):
                size += len(part)
                if size > limit:
                    raise BodyTooLarge(f"the body must have at most {limit} bytes, got more out of {name}")
                parts.append(part)
        except (_TooShort, zlib.error, zstd.ZstdError) as error:
            raise BadBody(f"the body is not valid {name}: {error}") from error
        body = b"".join(parts)
    return body


def _read_gzip(body: bytes) -> Iterator[bytes]:
    return _inflate(body, _GZIP)


def _read_deflate(body: bytes) -> Iterator[bytes]:
    """In zlib's form, as the name says, or bare, as some clients have understood it."""
    with_header = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return _inflate(body, _ZLIB if with_header else _RAW)


def _inflate(body: bytes, form: int) -> Iterator[bytes]:
    """Of all streams that stand behind each other, in pieces of at most _STEP bytes. Raises _TooShort."""
    stream = zlib.decompressobj(form)
    for at in range(0, len(body), _STEP):
        data = body[at : at + _STEP]
        while data:
            if stream.eof:
                stream = zlib.decompressobj(form)
            yield stream.decompress(data, _STEP)
            data = stream.unused_data if stream.eof else stream.unconsumed_tail
    while not stream.eof:  # the last step may have left something to be told
        rest = stream.decompress(b"", _STEP)
        if not rest and not stream.eof:
            raise _TooShort
        yield rest


def _read_zstd(body: bytes) -> Iterator[bytes]:
    """Of all frames that stand behind each other, in pieces of at most _STEP bytes. Raises _TooShort."""
    stream = zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)
    for at in range(0, len(body), _STEP):
        data = body[at : at + _STEP]
        while data or not (stream.eof or stream.needs_input):
            if stream.eof:
                stream = zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)
            yield stream.decompress(data, _STEP)
            data = stream.unused_data if stream.eof else b""
    if not stream.eof:
        raise _TooShort


_READERS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": _read_gzip,
    "x-gzip": _read_gzip,
    "deflate": _read_deflate,
    "zstd": _read_zstd,
}
ENCODINGS = ("gzip", "deflate", "zstd")
