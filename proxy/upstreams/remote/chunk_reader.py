"""Takes the bytes of an answer apart into chunks.

They are the events of a stream, however their lines end, or one JSON document where a server does not stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

from proxy.upstreams.remote.chunks import Chunk, check_chunk, no_chunk, parse_chunk
from proxy.upstreams.remote.failures import ServerFailed, read_failure
from proxy.upstreams.remote.refusals import Failure

_MAX_EVENT = 16 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_DONE = (b"[DONE]", b'"[DONE]"')
_LINE_ENDS = (b"\n", b"\r")

P = ParamSpec("P")


class ChunkReader:
    """Call feed() with the bytes as they come and end() behind the last of them.

    done: nothing more is read.
    failure: why, where it was not the stream's own end; what came before it was given out.
    """

    def __init__(self) -> None:
        self.done = False
        self.failure: ServerFailed | None = None
        self._rest = b""  # the beginning of a line
        self._skip_lf = False  # the last line ended in a CR, to which an LF may belong
        self._begun = False
        self._document: list[bytes] | None = None
        self._name = b""  # of the event
        self._data: list[bytes] = []  # of an event that is no chunk yet

    def feed(self, part: bytes) -> list[Chunk]:
        if self._is_one_event(part) and (chunk := _plain_chunk(part[6:-2])) is not None:
            self._begun = True
            return [chunk]
        chunks: list[Chunk] = []
        for line in self._lines(part):
            if not self.done:
                chunks += self._or_failure(self._line, line)
        size = len(self._rest) + sum(map(len, self._data)) + sum(map(len, self._document or ()))
        if size > _MAX_EVENT:
            self._fail(ServerFailed(Failure("", 0, f"it sent an event of more than {_MAX_EVENT} bytes")))
        return chunks

    def _is_one_event(self, part: bytes) -> bool:
        """Whether the bytes are one whole event in one line, as almost all are."""
        begins = part.startswith(b"data: {") and part.endswith(b"}\n\n")
        if not begins or self._rest or self._skip_lf or self._data or self._name or self.done:
            return False
        return self._document is None and part.find(b"\n") == len(part) - 2 and b"\r" not in part

    def end(self) -> list[Chunk]:
        """The last event may lack its line break."""
        chunks = self.feed(b"\n") if self._rest else []
        if self.done:
            return chunks
        if self._document is not None:
            document, self._document = self._document, None
            return chunks + self._or_failure(_read_document, document)
        return chunks + self._or_failure(self._dispatch)

    def _or_failure(self, read: Callable[P, list[Chunk]], *given: P.args, **named: P.kwargs) -> list[Chunk]:
        try:
            return read(*given, **named)
        except ServerFailed as error:
            self._fail(error)
            return []

    def _fail(self, error: ServerFailed) -> None:
        self.done, self.failure = True, error

    def _lines(self, part: bytes) -> list[bytes]:
        if self._skip_lf and part:
            self._skip_lf = False
            part = part.removeprefix(b"\n")
        text = self._rest + part
        lines = text.splitlines()
        self._rest = b"" if text.endswith(_LINE_ENDS) or not lines else lines.pop()
        self._skip_lf = self._skip_lf or text.endswith(b"\r")
        return lines

    def _line(self, line: bytes) -> list[Chunk]:
        if not self._begun:
            line = line.removeprefix(_BOM)
            if not line.strip():
                return []
            self._begun = True
            if line.lstrip()[:1] in (b"{", b"["):
                self._document = []
        if self._document is not None:
            self._document.append(line)
            return []
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        if field == b"event":
            self._name = value.strip()
        elif field == b"data":
            return self._take(value.removeprefix(b" "))
        return []

    def _take(self, data: bytes) -> list[Chunk]:
        """One line of data. It is read at once where it is a whole chunk: some servers leave out the empty
        line behind it.
        """
        if not self._data and self._name != b"error":
            told = data.strip()
            if told in _DONE:
                self.done = True
                return []
            if not told:
                return []
            try:
                return [check_chunk(parse_chunk(told))]
            except ValueError:
                pass
        self._data.append(data)
        return []

    def _dispatch(self) -> list[Chunk]:
        """The event whose data came in several lines, or say that something failed."""
        name, self._name = self._name, b""
        if not self._data:
            return []
        data, self._data = b"\n".join(self._data), []
        try:
            chunk = check_chunk(parse_chunk(data))
        except ValueError as error:
            if name == b"error":
                raise ServerFailed(read_failure(0, data.decode("utf-8", "replace"), {})) from error
            raise no_chunk(error) from error
        if name == b"error":
            raise ServerFailed(read_failure(0, data.decode("utf-8", "replace"), {}))
        return [chunk]


def _plain_chunk(data: bytes) -> Chunk | None:
    """The chunk, where it is one and tells of nothing but an answer."""
    try:
        chunk = parse_chunk(data)
    except ValueError:
        return None
    return chunk if chunk.choices and chunk.error is None and chunk.choices[0].error is None else None


def _read_document(lines: list[bytes]) -> list[Chunk]:
    """One answer, or a chunk in each line."""
    try:
        return [check_chunk(parse_chunk(b"\n".join(lines)))]
    except ValueError as error:
        if len(lines) < 2:
            raise no_chunk(error) from error
    chunks = []
    for line in filter(bytes.strip, lines):
        try:
            chunks.append(check_chunk(parse_chunk(line)))
        except ValueError as error:
            raise no_chunk(error) from error
    return chunks
