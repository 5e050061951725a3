"""Secrets do not leave the step's process."""

import hashlib
import json
import re
from typing import Any

LONGEST = 2000  # characters of an event's text; a frame may have 64 KiB
HIDDEN = "(hidden)"
# Two things are secret, wherever they stand. The first is what follows a name such as "token", as
# in `token=abc` and `"password": "abc"`, also if the JSON is inside JSON. The second is a long
# random text, such as a session key: no word of a language has so many letters and digits.
SECRET = re.compile(
    r"""
    (?P<name> (?:token|secret|passw|pwd|session|csrf|cookie|credential|api.?key|ticket
        |auth(?!or(?!i))) [\w-]{0,30} \\*["']? \s{0,3} [=:] \s{0,3} )
    (?: b? (?P<quote>\\*["']) .*? (?:(?<!\\)(?P=quote)|$)  # a quote inside is escaped
    | [\[{] .*? (?:[\]}]|$)
    | (?:(?:Basic|Bearer|Token)\s+)? [^\s&,;}\\"']+ )
    | (?P<random> (?=[\w-]*\d) [a-z0-9_-]{20,} | [a-z0-9_-]{32,} )
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
# Characters that UTF-8 or XML cannot carry, that would control a terminal, or that change the
# direction of the text after them.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def hide(value: Any) -> str:
    """Return a frame, an event or a text as one short line without secrets."""
    if not isinstance(value, str):
        try:
            value = json.dumps(value, ensure_ascii=False, default=repr)
        except (ValueError, TypeError, RecursionError):
            value = "(no JSON)"
    text = UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", " ".join(value.split()))
    text = SECRET.sub(stand_in, text)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def stand_in(found: re.Match[str]) -> str:
    """Return what stands for a secret; the same random text has the same three digits."""
    if found["name"]:
        return found["name"] + HIDDEN
    return f"…{hashlib.sha256(found[0].encode()).hexdigest()[:3]}"
