"""Mask the passwords of URLs in command lines and messages."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

HIDDEN = "***"
# A scheme has two letters at least: one is a drive of Windows. `user:password@host` needs none.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{1,31}:/"
_IN_WORD = re.compile(rf"{_SCHEME}(?:(?!{_SCHEME}).)*|[\w.+-]+:[^/@]+@.*", re.DOTALL)
_IN_TEXT = re.compile(rf"{_SCHEME}(?:(?!{_SCHEME})[^\s'\"`<>])*|[\w.+-]+:[^\s/@]+@[^\s'\"`<>]*")
_SECRET = re.compile(r"pass|pwd|secret|token|credential|(?:^|_)(?:api|access|private|ssl)?key", re.IGNORECASE)
"""Names of a URL's parameters whose values are hidden."""
_SETTING = re.compile(r"(?:pass\w*|pwd|secret|token)\s*=\s*([^;&]+)", re.IGNORECASE)
"""A parameter in what is no URL, or in another one's value: `odbc_connect=...;PWD=...`."""


def masked_command(words: Sequence[str]) -> str:
    """Return words quoted for a shell, with the passwords of URLs masked."""
    return " ".join(map(_masked_word, words))


def _masked_word(word: str) -> str:
    hidden = _IN_WORD.sub(lambda found: masked_url(found[0]), word)
    return hidden if shlex.quote(word) == word else shlex.quote(hidden)  # the stars alone need no quotes


def masked(text: str, *urls: str) -> str:
    """Return a message with the passwords of all URLs in it masked.

    Args:
        text: The message.
        urls: URLs whose passwords are masked also where they stand alone.
    """
    for url in urls:
        text = text.replace(url, masked_url(url))
        for secret in _secrets_of(url):
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return _IN_TEXT.sub(lambda found: masked_url(found[0]), text)


def masked_url(url: str) -> str:
    """Return a URL with its password, and parameters whose names say that they are secret, masked.

    Text that is no unambiguous URL and may hold a password is masked whole, but for its scheme.
    """
    if "@" not in url and "=" not in url:
        return url
    parsed = _parsed(url)
    if parsed is None:
        scheme = url[: url.index(":") + 1] if ":" in url else ""
        return f"{scheme}{HIDDEN}" if "@" in url or _SETTING.search(url) else url
    hidden = {key: HIDDEN for key, value in parsed.query.items() if _is_secret(key, value)}
    if parsed.username and parsed.password is None and parsed.drivername.startswith("http"):
        parsed = parsed.set(username=HIDDEN)  # a token
    elif parsed.password is None and not hidden:
        return url
    shown = parsed.set(query={**parsed.query, **hidden}).render_as_string(hide_password=True)
    return shown.replace("%2A%2A%2A", HIDDEN)


def is_clear_url(url: str) -> bool:
    """Whether a text is a URL that can be read in one way only.

    SQLAlchemy takes `me:p@ss@host` for the password `p` and the host `ss@host`.
    """
    return _parsed(url) is not None


def _parsed(url: str) -> URL | None:
    """Parse a URL by SQLAlchemy; None if it is none or ambiguous."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # ValueError: of a port
        return None
    host, database = parsed.host or "", parsed.database or ""
    behind = re.search("@" if parsed.username is not None else r":[^/]+@", database)
    return None if "@" in host or behind else parsed


def _is_secret(key: str, value: object) -> bool:
    return _SECRET.search(key) is not None or _SETTING.search(str(value)) is not None


def _secrets_of(url: str) -> list[str]:
    """Return the passwords in an unambiguous URL, decoded."""
    parsed = _parsed(url)
    if parsed is None:  # `masked_url` hides it whole
        return []
    values = [str(value) for key, value in parsed.query.items() if _is_secret(key, value)]
    values += [inner for value in values for inner in _SETTING.findall(value)]
    token = parsed.username if parsed.password is None and parsed.drivername.startswith("http") else None
    return [str(secret) for secret in (parsed.password, token, *values) if secret]
