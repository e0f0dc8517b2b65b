"""Names of the files in an artifact: what is refused, so that they may be written below any folder."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from .canonical import Malformed, shown

__all__ = ["PathSet", "check_paths", "path_problem"]

_LONGEST_PATH, _LONGEST_PART = 1024, 255


def path_problem(path: str) -> str | None:
    """Return what is wrong with the path of a file in an artifact, or None.

    A path is relative, of parts joined by ``/``, in Unicode's form C; no part is empty, ``.`` or ``..``;
    there is no backslash and no control character; a part has at most 255 bytes, and the whole at most 1024.

    >>> path_problem("weights/0.bin"), path_problem("../x")
    (None, "has the part '..'")
    """
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "has no UTF-8"
    parts = path.split("/")
    if not path or path.startswith("/"):
        return "is empty" if not path else "is absolute"
    if len(encoded) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_PART for part in parts):
        return f"is longer than {_LONGEST_PATH} bytes, or a part of it than {_LONGEST_PART}"
    for part in parts:
        if part in {"", ".", ".."}:
            return f"has the part {part!r}"
    if "\\" in path or any(unicodedata.category(character) == "Cc" for character in path):
        return "has a backslash or a control character"
    return None if unicodedata.is_normalized("NFC", path) else "is not in Unicode's form C"


class PathSet:
    """Paths of one artifact; a bad one is refused, and two of which some file system makes one.

    >>> paths = PathSet()
    >>> paths.add("a")
    >>> paths.add("A/b")
    Traceback (most recent call last):
    ...
    bento_rollout.artifacts.canonical.Malformed: the paths 'a' and 'A/b' collide
    """

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}
        self._folders: dict[str, str] = {}

    def add(self, path: str) -> None:
        """Take one more.

        Raises:
            Malformed: it is bad, is there already, or is a folder of another; the message names it, or both.
        """
        if problem := path_problem(path):
            raise Malformed(f"the path {shown(path)} {problem}")
        folded = _folded(path)
        parts = folded.split("/")
        above = ["/".join(parts[:end]) for end in range(1, len(parts))]
        others = [self._seen.get(folded), self._folders.get(folded), *map(self._seen.get, above)]
        for other in others:
            if other is not None:
                raise Malformed(f"the paths {shown(other)} and {shown(path)} collide")
        self._seen[folded] = path
        for folder in above:
            self._folders.setdefault(folder, path)


def check_paths(paths: Iterable[str]) -> None:
    """Refuse a bad path, and two of which some file system makes one, or one the other's folder.

    Raises:
        Malformed: the message names the path, or both.

    >>> check_paths(["a", "A/b"])
    Traceback (most recent call last):
    ...
    bento_rollout.artifacts.canonical.Malformed: the paths 'a' and 'A/b' collide
    """
    known = PathSet()
    for path in paths:
        known.add(path)


def _folded(path: str) -> str:
    """The path as a file system that ignores case and form may see it."""
    once = unicodedata.normalize("NFKC", path).casefold()
    return unicodedata.normalize("NFKC", once)
