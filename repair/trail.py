"""Skips what models leave behind a call: its own content once more, and stray closing markers."""

from __future__ import annotations

from dataclasses import dataclass

from repair.events import Junk
from repair.regions import SPECIAL_TOKENS, match_literal, skip_space
from repair.types import Fix, FixKind

_NONE = Junk("", Fix(FixKind.extra_closer, "", "", ""))


@dataclass(slots=True)
class Trail:
    """What may follow a region.

    inner: the region's content, of which an echo may follow; "" when none counts any more.
    strays: markers that may be left over.
    fragile: markers that are not left over.
    """

    inner: str
    strays: tuple[str, ...]
    fragile: tuple[str, ...]

    @staticmethod
    def behind(
        content: str, fragile: tuple[str, ...], closers: tuple[str, ...], strays: tuple[str, ...]
    ) -> Trail:
        """The trail of a region, or section, with this content, whose own end markers are `closers`. The
        content is "" where no marker begins it.
        """
        closer = next((one for one in closers if content.endswith(one)), "")
        inner = content[: len(content) - len(closer)].strip()
        if len(inner) < 8:
            inner = ""
        return Trail(inner, (*strays, *SPECIAL_TOKENS), fragile[1:])

    def read(self, text: str, at: int, final: bool) -> Junk | None:
        """The next thing left over at `at`, with the space before it: empty where there is none, and None
        where more text decides.
        """
        start = skip_space(text, at)
        if self.inner:
            if text.startswith(self.inner, start):
                raw = text[at : start + len(self.inner)]
                fix = Fix(FixKind.echo, "", self.inner[:80], "")
                self.inner = ""
                return Junk(raw, fix)
            if not final and len(text) - start < len(self.inner) and self.inner.startswith(text[start:]):
                return None
            self.inner = ""
        stray = match_literal(text, start, self.strays)
        if not final and self._may_grow(text[start : start + 80]):
            return None
        if stray is None or any(one in stray for one in self.fragile):
            return _NONE
        return Junk(text[at : start + len(stray)], Fix(FixKind.extra_closer, "", stray, ""))

    def _may_grow(self, rest: str) -> bool:
        """Whether `rest`, the end of what has come, may become a stray marker, or a longer one."""
        return any(len(one) > len(rest) and one.startswith(rest) for one in self.strays)
