"""Makes bad inputs of good ones: bytes that were edited, and JSON that is whole and says something else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from bento_rollout.artifacts.canonical import Malformed, canonical

LONGEST = 2**17
"""Bytes of an input: beyond every limit but those of manifest and bundle."""

Mutation = Callable[[Random, bytes], bytes]

NUMBERS = (
    *(b"0", b"-0", b"-1", b"1.0", b"1e9", b"NaN", b"Infinity", b"9007199254740991", b"9007199254740992"),
    *(b"4294967295", b"true", b"null", b"1" * 400, b"0x" + b"f" * 5000),
)
TOKENS = (
    *(b'"', b"\\", b"\\ud800", b"\\u0000", b"[", b"]", b"{", b"}", b",", b":", b"[" * 40, b'{"a":' * 40),
    *(b"\n", b"\r\n", b"\x00", b" ", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"..", b"/", b"#", b"="),
    *(b"-> ", b"-> X25519 ", b"-> scrypt ", b"---", b"--- "),
    *(b"[models.", b"]]", b"'''", b'"""', b"min_serial = ", b"not_after = "),
    *(b"2027-01-01", b"9999-12-31T23:59:59-23:59", b"0001-01-01T00:00:00+23:59"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**53 - 1, 2**53, -(2**63)),
    *("", "a", "../x", "\u0000", "é", "e\u0301", "\U0001f600", "a" * 300, "0" * 64, "a" * 32),
    *([], {}, [[]], [0], {"": 0}, ["a", "a"]),
)


def flip(random: Random, raw: bytes) -> bytes:
    """Flip one bit."""
    at = random.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ 1 << random.randrange(8)]) + raw[at + 1 :]


def overwrite(random: Random, raw: bytes) -> bytes:
    """Write some bytes, which are extreme ones half of the time."""
    at, count = random.randrange(len(raw)), random.choice((1, 1, 2, 4, 8))
    new = random.choice((b"\x00", b"\xff", b"\x7f", b"\x80")) * count if random.random() < 0.5 else None
    return raw[:at] + (new or random.randbytes(count)) + raw[at + count :]


def drop(random: Random, raw: bytes) -> bytes:
    """Take a piece out."""
    begin, end = _piece(random, raw)
    return raw[:begin] + raw[end:]


def repeat(random: Random, raw: bytes) -> bytes:
    """Write a piece several times."""
    begin, end = _piece(random, raw)
    return raw[:begin] + raw[begin:end] * random.choice((2, 2, 3, 100)) + raw[end:]


def swell(random: Random, raw: bytes) -> bytes:
    """Write a piece so often that what takes time with the square of it is seen; rarely, since it is slow."""
    if random.random() < 0.95:
        return repeat(random, raw)
    begin, end = _piece(random, raw)
    return raw[:begin] + raw[begin:end] * (LONGEST // max(1, end - begin)) + raw[end:]


def move(random: Random, raw: bytes) -> bytes:
    """Move a piece to another place."""
    begin, end = _piece(random, raw)
    piece, rest = raw[begin:end], raw[:begin] + raw[end:]
    at = random.randrange(len(rest) + 1)
    return rest[:at] + piece + rest[at:]


def cut(random: Random, raw: bytes) -> bytes:
    """Cut it off."""
    return raw[: random.randrange(len(raw))]


def insert(random: Random, raw: bytes) -> bytes:
    """Put in what means something in one of the formats."""
    at = random.randrange(len(raw) + 1)
    return raw[:at] + random.choice(TOKENS) + raw[at:]


def renumber(random: Random, raw: bytes) -> bytes:
    """Put another number where one is."""
    places = [at for at in range(len(raw)) if raw[at : at + 1].isdigit() and not raw[at - 1 : at].isalnum()]
    if not places:
        return insert(random, raw)
    at = end = random.choice(places)
    while raw[end : end + 1].isdigit():
        end += 1
    return raw[:at] + random.choice(NUMBERS) + raw[end:]


def _piece(random: Random, raw: bytes) -> tuple[int, int]:
    begin = random.randrange(len(raw) + 1)
    return begin, min(len(raw), begin + random.choice((1, 1, 4, 16, 64, 300)))


BYTES: tuple[Mutation, ...] = (
    flip,
    flip,
    overwrite,
    drop,
    repeat,
    swell,
    move,
    cut,
    insert,
    insert,
    renumber,
)


def mutated(random: Random, raw: bytes, mutations: Sequence[Mutation] = BYTES) -> bytes:
    """Change it one to four times."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        if not raw:
            return random.choice(TOKENS)
        raw = random.choice(mutations)(random, raw)[:LONGEST]
    return raw


def rewritten(random: Random, raw: bytes) -> bytes:
    """Change something in the value that JSON has, and write it in canonical form wherever it has one."""
    whole = {"": copy.deepcopy(json.loads(raw))}
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        if places := _places(whole):
            _change(random, *random.choice(places))
    value = whole.get("")
    try:
        return canonical(value)
    except Malformed:
        return json.dumps(value).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Where each value within a value is: its holder, and its key or index there."""
    found, waiting = [], [value]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        found += [(holder, key) for key in keys]
        waiting += [holder[key] for key in keys if isinstance(holder[key], (dict, list))]
    return found


def _change(random: Random, holder: Any, key: Any) -> None:
    """Replace, remove, copy, extend or edit one value."""
    value, how = holder[key], random.randrange(6)
    if how == 0:
        del holder[key]
    elif how == 1 and isinstance(holder, list):
        holder.insert(random.randrange(len(holder) + 1), copy.deepcopy(value))
    elif how == 2 and isinstance(holder, dict):
        holder[random.choice(("more", "name", "__proto__", "", f"{key}\n"))] = copy.deepcopy(value)
    elif how == 3 and isinstance(value, str):
        holder[key] = mutated(random, value.encode() or b"a", (flip, drop, insert)).decode(errors="replace")
    elif how == 4 and isinstance(value, int):
        holder[key] = value + random.choice((-1, 1, 2**20 - 32, 2**32, 2**53))
    else:
        holder[key] = copy.deepcopy(random.choice(VALUES))
