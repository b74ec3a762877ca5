"""Stop strings under every way of cutting the text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from repair.stop import StopFinder


def expected(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    """By definition: cut where the first stop string to complete began (the earliest start of those). And
    which one it was.
    """
    ends = [
        (text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text
    ]  # the first occurrence is the first to complete
    if not ends:
        return text, None
    end, start = min(ends)
    return text[:start], text[start:end]


def feed(pieces: list[str], stops: tuple[str, ...]) -> tuple[str, str | None]:
    finder = StopFinder(stops)
    shown = ""
    for piece in pieces:
        text, stopped = finder.push(piece)
        shown += text
        if stopped:
            return shown, finder.found
    return shown + finder.flush(), finder.found


letters = st.text("ab<", max_size=24)
stop_strings = st.lists(st.text("ab<", min_size=1, max_size=5), max_size=4).map(tuple)


@given(letters, stop_strings, st.data())
def test_any_split_gives_what_the_whole_text_gives(
    text: str, stops: tuple[str, ...], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert feed(pieces, stops) == feed(list(text), stops) == feed([text], stops) == expected(text, stops)


@given(letters, stop_strings)
def test_nothing_shown_is_ever_part_of_a_stop_string(text: str, stops: tuple[str, ...]) -> None:
    finder = StopFinder(stops)
    shown = ""
    for character in text:
        piece, stopped = finder.push(character)
        shown += piece
        if stopped:
            break
        for stop in stops:
            begun = [size for size in range(1, len(stop)) if shown.endswith(stop[:size])]
            assert not begun or not any(text.startswith(stop, len(shown) - size) for size in begun)


def test_text_that_cannot_begin_a_stop_leaves_at_once() -> None:
    finder = StopFinder(("END",))
    assert finder.push("abc") == ("abc", False)
    assert finder.push("E") == ("", False)
    assert finder.push("NX") == ("ENX", False)
    assert finder.push("EN") == ("", False)
    assert finder.push("D and more") == ("", True)
