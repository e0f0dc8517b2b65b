"""FLOE in memory: what others wrote is read, what we write is theirs byte for byte, and damage is seen."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bento_rollout.artifacts import floe, memory
from bento_rollout.artifacts.floe import HEADER_LENGTH, OVERHEAD, Layout, Message, decrypt, encrypt
from bento_rollout.errors import ArtifactCorrupt, InvalidValue

KNOWN = Path(__file__).parents[1] / "vectors" / "floe"
AAD = b"This is AAD"
KEY = bytes(32)
OTHER = bytes(31) + b"\x01"


@dataclass(frozen=True)
class Answer:
    """A payload that another implementation wrote."""

    sealed: bytes
    plain: bytes
    mask: int

    @property
    def segment_length(self) -> int:
        """As its header says."""
        return int.from_bytes(self.sealed[2:6], "big")

    @property
    def segments(self) -> list[bytes]:
        """What follows its header."""
        return cut(self.sealed, self.segment_length)[1:]


def cut(sealed: bytes, length: int) -> list[bytes]:
    """The header, and each segment."""
    starts = range(HEADER_LENGTH, len(sealed), length)
    return [sealed[:HEADER_LENGTH], *(sealed[start : start + length] for start in starts)]


def known(name: str) -> Answer:
    """Read one of the known answers."""
    sealed, plain = (
        bytes.fromhex((KNOWN / f"{name}_{part}.txt").read_text(encoding="ascii").strip())
        for part in ("ct", "pt")
    )
    return Answer(sealed, plain, 2 if name.endswith("rotation") else 20)


NAMES = sorted(file.name.removesuffix("_ct.txt") for file in KNOWN.glob("*_ct.txt"))


@pytest.fixture(params=NAMES)
def answer(request: pytest.FixtureRequest) -> Answer:
    """Each known answer."""
    return known(request.param)


def test_all_known_answers_are_here() -> None:
    """Two implementations, public and internal files: 11 in all, and each has its plaintext."""
    assert len(NAMES) == 11
    assert {path.name for path in KNOWN.iterdir()} == {
        "README.md",
        *(f"{name}_{part}.txt" for name in NAMES for part in ("ct", "pt")),
    }


def test_known_answers_are_opened(answer: Answer) -> None:
    """What others sealed is opened."""
    assert decrypt(KEY, AAD, answer.sealed, rotation_mask=answer.mask) == answer.plain


@pytest.fixture
def random_is(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterator[bytes]], None]:
    """Let the random bytes be those that another implementation drew."""

    def become(drawn: Iterator[bytes]) -> None:
        def urandom(count: int) -> bytes:
            found = next(drawn)
            assert len(found) == count
            return found

        monkeypatch.setattr(os, "urandom", urandom)

    return become


def drawn_by(answer: Answer) -> Iterator[bytes]:
    """The IV of a payload, and the nonce of each of its segments."""
    yield answer.sealed[10:42]
    yield from (segment[4:16] for segment in answer.segments)


def test_known_answers_are_written_again(
    answer: Answer, random_is: Callable[[Iterator[bytes]], None]
) -> None:
    """With the same random bytes and the same segments, every byte of what we seal is theirs."""
    random_is(drawn_by(answer))
    message = Message.begin(KEY, AAD, segment_length=answer.segment_length, rotation_mask=answer.mask)
    made, rest = [message.header], answer.plain
    for index, segment in enumerate(answer.segments):
        size = len(segment) - OVERHEAD
        part, rest = rest[:size], rest[size:]
        out = memoryview(bytearray(len(segment)))
        message.seal_into(memoryview(part), index, index == len(answer.segments) - 1, out)
        made.append(bytes(out))
    assert b"".join(made) == answer.sealed
    assert not rest


WRITTEN = [name for name in NAMES if len(known(name).segments[-1]) > OVERHEAD]
"""All but those with an empty last segment: that is legal, it is read, and `encrypt` writes none."""


@pytest.mark.parametrize("name", WRITTEN)
def test_encrypt_writes_known_answers(name: str, random_is: Callable[[Iterator[bytes]], None]) -> None:
    """So does `encrypt`, which cuts the plaintext by itself."""
    answer = known(name)
    random_is(drawn_by(answer))
    made = encrypt(KEY, AAD, answer.plain, segment_length=answer.segment_length, rotation_mask=answer.mask)
    assert made == answer.sealed


def test_only_one_known_answer_is_written_otherwise() -> None:
    """The test above leaves out exactly the file that is made to be so."""
    assert set(NAMES) - set(WRITTEN) == {"java_lastSegEmpty"}


# -- round trips ------------------------------------------------------------------------------------------

small = st.integers(OVERHEAD + 1, 200)


@given(
    key=st.binary(min_size=32, max_size=32),
    aad=st.binary(max_size=300),
    plain=st.binary(max_size=2000),
    length=small,
    mask=st.integers(0, 32),
)
@example(key=KEY, aad=b"", plain=b"", length=33, mask=0)
@example(key=KEY, aad=b"", plain=bytes(64), length=64, mask=20)
def test_what_is_sealed_is_opened(key: bytes, aad: bytes, plain: bytes, length: int, mask: int) -> None:
    """Whatever the size: the same bytes come back, and the length is what the layout says."""
    sealed = encrypt(key, aad, plain, segment_length=length, rotation_mask=mask)
    assert len(sealed) == Layout(len(plain), length).sealed_size
    assert decrypt(key, aad, sealed, rotation_mask=mask) == plain


@given(size=st.integers(0, 5000), length=small)
def test_a_layout_has_no_gaps(size: int, length: int) -> None:
    """Segments follow one another without gaps, in the plaintext and as they are stored."""
    layout = Layout(size, length)
    plain, sealed = 0, HEADER_LENGTH
    for index in range(layout.count):
        begin, end = layout.plain(index)
        assert begin == plain
        assert end > begin or size == 0
        start, stop = layout.sealed(index)
        assert (start, stop - start) == (sealed, end - begin + OVERHEAD)
        assert stop - start == length or layout.is_last(index)
        plain, sealed = end, stop
    assert (plain, sealed) == (size, layout.sealed_size)


def test_segments_of_a_mebibyte() -> None:
    """The usual segment length, and a buffer that is not made of bytes."""
    plain = os.urandom(2**20 * 2)
    sealed = encrypt(KEY, AAD, memoryview(plain).cast("d"))
    assert len(sealed) == len(plain) + HEADER_LENGTH + 3 * OVERHEAD
    assert sealed[:10].hex() == "00000010000000000020"
    assert decrypt(KEY, AAD, bytearray(sealed)) == plain


def test_no_two_payloads_are_alike() -> None:
    """The same plaintext, sealed twice, has no byte string in common that tells so."""
    one, two = (cut(encrypt(KEY, AAD, bytes(64), segment_length=64), 64) for _ in range(2))
    assert one[0][10:] != two[0][10:]
    assert all(a[4:] != b[4:] for a, b in zip(one[1:], two[1:], strict=True))


# -- damage -----------------------------------------------------------------------------------------------

LENGTH = 40
PLAIN = bytes(range(1, 8 * 3 + 4))
"""Three whole segments and one of three bytes."""


@pytest.fixture(scope="module")
def sealed() -> bytes:
    """A payload of four segments."""
    return encrypt(KEY, AAD, PLAIN, segment_length=LENGTH)


@pytest.fixture(autouse=True)
def buffers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytearray]]:
    """Every buffer that was wiped; all of them are zero when the test ends."""
    seen: list[bytearray] = []

    def wipe(buffer: bytearray) -> None:
        seen.append(buffer)
        real(buffer)

    real = memory.wipe
    monkeypatch.setattr(floe, "wipe", wipe)
    yield seen
    assert not any(map(any, seen))


def refused(
    sealed: bytes, match: str | None = None, aad: bytes = AAD, key: bytes = KEY, mask: int = 20
) -> None:
    """A payload that is not opened, with the error for that."""
    with pytest.raises(ArtifactCorrupt, match=match) as raised:
        decrypt(key, aad, sealed, rotation_mask=mask)
    assert raised.value.exit_code == 12


def test_every_bit_counts(sealed: bytes) -> None:
    """Whichever bit is another one, in whichever field, nothing is opened."""
    for place, bit in itertools.product(range(len(sealed)), range(8)):
        damaged = bytearray(sealed)
        damaged[place] ^= 1 << bit
        refused(bytes(damaged))


FIELDS = {
    "aead": (0, "begins with 01000000002800000020, which is not FLOE GCM256_IV256"),
    "kdf": (1, "begins with 00010000002800000020, which is not"),
    "iv length": (9, "begins with 00000000002800000021, which is not"),
    "segment length": (5, "header has a wrong tag: it was edited, or sealed with another key"),
    "iv": (10, "header has a wrong tag"),
    "header tag": (73, "header has a wrong tag"),
    "mark": (77, "segment 0 of the payload is marked fffffffe, and not ffffffff as one that is followed"),
    "nonce": (74 + LENGTH + 4, "segment 1 of the payload has a wrong tag: it was edited or moved"),
    "ciphertext": (74 + 2 * LENGTH + 16, "segment 2 of the payload has a wrong tag"),
    "tag": (-1, "segment 3 of the payload has a wrong tag"),
    "last mark": (
        74 + 3 * LENGTH + 3,
        "segment 3 of the payload is marked 00000022, and not 00000023 as the last",
    ),
}


@pytest.mark.parametrize("field", FIELDS)
def test_the_error_names_the_field(sealed: bytes, field: str) -> None:
    """What is said depends on where the damage is."""
    place, said = FIELDS[field]
    damaged = bytearray(sealed)
    damaged[place] ^= 1
    refused(bytes(damaged), said)


@pytest.mark.parametrize("length", [0, 1, 32, 2**31, 2**32 - 1])
def test_segment_lengths_that_cannot_be(sealed: bytes, length: int) -> None:
    """The header's length is judged before anything is computed or allocated by it."""
    damaged = sealed[:2] + length.to_bytes(4, "big") + sealed[6:]
    refused(damaged, f"says {length} bytes a segment: they have from 33 to 2147483647")


def test_every_truncation_is_seen(sealed: bytes) -> None:
    """At every length, edges of segments among them."""
    for length in range(len(sealed)):
        refused(sealed[:length])
    refused(b"", "header has 74 bytes, and here are 0")
    refused(sealed[:HEADER_LENGTH], "cut short")
    refused(sealed[: HEADER_LENGTH + LENGTH + 31], "cut short: its last segment is not whole")
    refused(
        sealed[: HEADER_LENGTH + 2 * LENGTH], "segment 1 of the payload is marked ffffffff, and not 00000028"
    )


@pytest.mark.parametrize("more", [1, OVERHEAD - 1, OVERHEAD, LENGTH])
def test_what_follows_is_seen(sealed: bytes, more: int) -> None:
    """Bytes after the last segment are not left unread."""
    refused(sealed + bytes(more))


def rearranged() -> Iterator[list[int]]:
    """Every sequence of up to five of the segments of `sealed`, but for the one that was sealed."""
    for count in range(6):
        yield from (
            list(order) for order in itertools.product(range(4), repeat=count) if order != (0, 1, 2, 3)
        )


def test_segments_keep_their_places(sealed: bytes) -> None:
    """Swapped, repeated, dropped: no other sequence of at most five segments is opened."""
    header, *segments = cut(sealed, LENGTH)
    for order in rearranged():
        refused(b"".join([header, *(segments[index] for index in order)]))


def again(sealed: bytes, parts: list[tuple[bytes, int, bool]]) -> bytes:
    """What somebody who has the key could write under the same header."""
    message, made = Message.resume(KEY, AAD, sealed[:HEADER_LENGTH]), [sealed[:HEADER_LENGTH]]
    for plain, index, last in parts:
        out = memoryview(bytearray(len(plain) + OVERHEAD))
        message.seal_into(memoryview(plain), index, last, out)
        made.append(bytes(out))
    return b"".join(made)


def test_there_is_one_last_segment(sealed: bytes) -> None:
    """None of several last segments is taken for an inner one; a payload without one is not whole."""
    whole = bytes(LENGTH - OVERHEAD)
    refused(
        again(sealed, [(whole, 0, True), (whole, 1, True)]), "segment 0 of the payload is marked 00000028"
    )
    refused(again(sealed, [(whole, 0, True), (b"", 1, True)]), "segment 0 of the payload is marked 00000028")
    refused(
        again(sealed, [(whole, 0, False), (whole, 1, False)]), "segment 1 of the payload is marked ffffffff"
    )
    lying = bytearray(again(sealed, [(whole, 0, True), (b"", 1, True)]))
    lying[HEADER_LENGTH : HEADER_LENGTH + 4] = b"\xff" * 4
    refused(bytes(lying), "segment 0 of the payload has a wrong tag")
    empty = again(sealed, [(whole, 0, False), (b"", 1, True)])
    assert decrypt(KEY, AAD, empty) == whole


def test_segments_of_another_payload(sealed: bytes) -> None:
    """A segment of another payload of the same key does not fit, nor does another header."""
    other = cut(encrypt(KEY, AAD, PLAIN, segment_length=LENGTH), LENGTH)
    mine = cut(sealed, LENGTH)
    for index in range(1, 5):
        refused(
            b"".join([*mine[:index], other[index], *mine[index + 1 :]]), f"segment {index - 1} .* wrong tag"
        )
    refused(b"".join([other[0], *mine[1:]]), "segment 0 of the payload has a wrong tag")


def test_one_key_and_one_purpose(sealed: bytes) -> None:
    """Another key or other associated data: the header says so, before anything is decrypted."""
    refused(sealed, "sealed with another key, or as another artifact", key=OTHER)
    refused(sealed, "sealed with another key, or as another artifact", aad=AAD + b"!")
    refused(sealed, "sealed with another key, or as another artifact", aad=b"")


def test_another_rotation_mask() -> None:
    """The header does not hold the mask: the first segment with another AES key fails."""
    sealed = encrypt(KEY, AAD, bytes(8 * 6), segment_length=LENGTH, rotation_mask=2)
    refused(sealed, "segment 4 of the payload has a wrong tag", mask=20)
    refused(sealed, "segment 2 of the payload has a wrong tag", mask=1)
    assert decrypt(KEY, AAD, sealed, rotation_mask=2) == bytes(8 * 6)
    few = encrypt(KEY, AAD, bytes(8 * 4), segment_length=LENGTH, rotation_mask=2)
    assert decrypt(KEY, AAD, few) == bytes(8 * 4)


def test_what_was_decrypted_before_is_wiped(sealed: bytes, buffers: list[bytearray]) -> None:
    """The last segment is wrong: what the others held is not left in memory."""
    refused(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    assert [len(buffer) for buffer in buffers] == [len(PLAIN)]


# -- arguments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [b"", bytes(16), bytes(31), bytes(33)])
def test_keys_have_32_bytes(sealed: bytes, key: bytes) -> None:
    """A key of another length is refused, and is not in the message."""
    said = f"a data key has 32 bytes, and this one {len(key)}$"
    with pytest.raises(InvalidValue, match=said):
        encrypt(key, AAD, PLAIN)
    with pytest.raises(InvalidValue, match=said):
        decrypt(key, AAD, sealed)


@pytest.mark.parametrize("length", [-1, 0, 1, 32, 2**31, 2**32 - 1])
def test_no_odd_segment_lengths(length: int) -> None:
    """What could not be read is not written."""
    with pytest.raises(InvalidValue, match=f"segment_length={length}: it is from 33 to 2147483647 bytes"):
        encrypt(KEY, AAD, PLAIN, segment_length=length)


@pytest.mark.parametrize("mask", [-1, 33])
def test_no_odd_rotation_masks(sealed: bytes, mask: int) -> None:
    """An AES key has at most 2**32 nonces."""
    with pytest.raises(InvalidValue, match=f"rotation_mask={mask}: it is from 0 to 32"):
        encrypt(KEY, AAD, PLAIN, rotation_mask=mask)
    with pytest.raises(InvalidValue, match=f"rotation_mask={mask}: it is from 0 to 32"):
        decrypt(KEY, AAD, sealed, rotation_mask=mask)


def test_segments_are_counted() -> None:
    """No payload has more than 2**40 segments."""
    message = Message.begin(KEY, AAD)
    with pytest.raises(InvalidValue, match="at most 1099511627776 segments"):
        message.seal_into(memoryview(b""), 2**40, True, memoryview(bytearray(OVERHEAD)))
    message.seal_into(memoryview(b""), 2**40 - 1, True, memoryview(bytearray(OVERHEAD)))


@given(noise=st.binary(max_size=400), keep=st.integers(0, HEADER_LENGTH + LENGTH))
def test_noise_is_refused(noise: bytes, keep: int) -> None:
    """Whatever the bytes, and however well they begin: one error, and no other."""
    begun = encrypt(KEY, AAD, PLAIN, segment_length=LENGTH)[:keep]
    with pytest.raises(ArtifactCorrupt):
        decrypt(KEY, AAD, begun + noise)
