"""The page as one document: markup, styles and scripts in it, and a policy that lets nothing else in.

The files lie beside this one. Nothing is loaded from elsewhere: the Content-Security-Policy names the hashes
of the inline styles and scripts, and lets the page ask its own server alone
(https://www.w3.org/TR/CSP3/).
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
_STYLES = ("uplot/uPlot.min.css", "page.css")
_SCRIPTS = ("uplot/uPlot.iife.min.js", "plots.js", "page.js")


@dataclass(frozen=True, slots=True)
class PageDocument:
    """html: as it is sent. headers: of the response. tag: changes with the html."""

    html: bytes
    headers: dict[str, str]
    tag: str


@cache
def page_document(keyed: bool) -> PageDocument:
    """The page; its files are read once. keyed: it asks for a key before it asks the server for anything."""
    styles, scripts = (tuple(_read(name) for name in names) for names in (_STYLES, _SCRIPTS))
    html = _read("index.html").replace("<html ", "<html data-keyed " if keyed else "<html ")
    html = html.replace("<!-- styles -->", "".join(f"<style>{text}</style>" for text in styles))
    html = html.replace("<!-- scripts -->", "".join(f"<script>{text}</script>" for text in scripts))
    body = html.encode()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {
        "content-security-policy": _policy(styles, scripts),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
        "etag": tag,
    }
    return PageDocument(body, headers, tag)


def _policy(styles: tuple[str, ...], scripts: tuple[str, ...]) -> str:
    rules = {
        "default-src": "'none'",
        "script-src": " ".join(map(_hash, scripts)),
        "style-src": " ".join(map(_hash, styles)),
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")
