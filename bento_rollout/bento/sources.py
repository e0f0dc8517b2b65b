"""What the code of a class or function says, without what a reader may change freely: comments and blanks."""

from __future__ import annotations

import inspect
import io
import textwrap
import time
import tokenize
import weakref
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["source_of", "written"]

OPENING = frozenset(getattr(tokenize, name, -2) for name in ("FSTRING_START", "TSTRING_START"))
CLOSING = frozenset(getattr(tokenize, name, -2) for name in ("FSTRING_END", "TSTRING_END"))
"""Kinds of tokens that some Pythons split strings into; the others have one token for the whole."""

PAIRS = {"(": ")", "[": "]", "{": "}"}
CLOSERS = frozenset(PAIRS.values())
NO_PYTHON = frozenset("$?!`")
"""What stands in no code; some Pythons call it an operator."""


def source_of(cls: type) -> str:
    """Return what a class says, from ``class`` on; of one without source (made in a console), its code."""
    if (known := _sources.get(cls)) is not None:
        return known
    try:
        text = written(_retried(lambda: inspect.getsource(cls)), undecorated=True)
    except (OSError, TypeError, SyntaxError):
        functions = ((name, value) for name, value in sorted(vars(cls).items()) if inspect.isfunction(value))
        codes = [f"{name}:{value.__code__.co_code.hex()}" for name, value in functions]
        text = f"{cls.__module__}.{cls.__qualname__}:{codes}"
    _sources[cls] = text
    return text


_sources: weakref.WeakKeyDictionary[type, str] = weakref.WeakKeyDictionary()
"""Each class's source, read once: finding a class parses its whole file."""


def written(text: str, *, undecorated: bool = False) -> str:
    r"""Return Python code without comments, blank lines, blanks at the ends of lines, and common indentation.

    Strings stay to the letter, docstrings, too. It is the same text in every version of Python; code that
    cannot be split into tokens comes back as it is.

    Args:
        text: a class or a function, as it stands in its file.
        undecorated: begin with the line that begins with ``class``: what decorates it is not what it is.

    >>> written("  # says hello\n  def hello():  # to all\n\n    return '# hello'\n")
    "def hello():\n  return '# hello'"
    """
    lines, inside = text.split("\n"), set[int]()
    begin = 0
    try:
        for kind, string, first, last in _parts(text):
            if kind == tokenize.COMMENT:
                lines[first - 1] = lines[first - 1].removesuffix(string)
            elif kind == tokenize.STRING:
                inside.update(range(first, last))
            elif undecorated and string == "class":
                begin, undecorated = first - 1, False
    except (tokenize.TokenError, SyntaxError):
        return textwrap.dedent(text)
    # A line that begins or ends inside a string has blanks there that are the string's.
    ends = [(line if n in inside else line.rstrip(), n - 1 in inside) for n, line in enumerate(lines, 1)]
    kept = [(line, within) for line, within in ends[begin:] if line or within]
    margin = min((len(line) - len(line.lstrip()) for line, within in kept if not within), default=0)
    return "\n".join(line if within else line[margin:] for line, within in kept)


def _parts(text: str) -> Iterator[tuple[int, str, int, int]]:
    """Return the kind, text, and first and last line (from 1) of each token; a string is one, however split.

    Raises:
        SyntaxError: for what newer Pythons do not split: a bracket that was never opened, as around a lambda.
    """
    depth = begin = 0
    open_: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        first, last = token.start[0], token.end[0]
        if token.type in OPENING:
            begin, depth = (begin, depth + 1) if depth else (first, 1)
        elif token.type in CLOSING:
            depth -= 1
            if not depth:
                yield tokenize.STRING, "", begin, last
        elif not depth:
            if token.string in PAIRS:
                open_.append(PAIRS[token.string])
            elif (token.string in CLOSERS and (not open_ or open_.pop() != token.string)) or (
                token.type == tokenize.ERRORTOKEN or token.string in NO_PYTHON
            ):
                raise SyntaxError(token.string)
            yield token.type, token.string, first, last


def _retried(read: Callable[[], Any]) -> Any:
    """Read again when Python's parser stumbled: two threads that parse at once trip it up (fixed in 3.12)."""
    for _ in range(20):
        try:
            return read()
        except SystemError:
            time.sleep(0.005)
    return read()
