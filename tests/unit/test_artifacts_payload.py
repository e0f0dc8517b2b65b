"""Payloads in files: sealed as they are written, and read by what was signed of them, or not at all."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bento_rollout.artifacts.floe import HEADER_LENGTH, OVERHEAD, Layout, Message, decrypt
from bento_rollout.artifacts.memory import bytes_of, private_memory, wipe
from bento_rollout.artifacts.payload import Payload
from bento_rollout.artifacts.sealer import Sealer, Sink
from bento_rollout.errors import ArtifactCorrupt, ArtifactError, InvalidValue

KEY, AAD = bytes(range(32)), b'{"name":"screening","path":"model.joblib"}'
LENGTH = 64
WHOLE = LENGTH - OVERHEAD
PLAIN = bytes(range(1, 4 * WHOLE + 8))
"""Four whole segments and one of seven bytes; no byte is zero."""
THREADS = [1, 2, 5]


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor for reading."""
    file = os.open(path, os.O_RDONLY)
    try:
        yield file
    finally:
        os.close(file)


def seal(path: Path, plain: bytes = PLAIN, length: int = LENGTH, threads: int = 1) -> Payload:
    """Seal a plaintext into a file."""
    with (
        path.open("wb", buffering=0) as sink,
        Sealer(KEY, AAD, sink, segment_length=length, threads=threads) as file,
    ):
        file.write(plain)
    assert file.payload
    return file.payload


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the payload lies."""
    return tmp_path / "0000.floe"


@pytest.fixture
def payload(path: Path) -> Payload:
    """A payload of five segments."""
    return seal(path)


def refused(
    path: Path,
    payload: Payload,
    match: str | None = None,
    *,
    error: type[ArtifactError] = ArtifactCorrupt,
    key: bytes = KEY,
    aad: bytes = AAD,
    threads: Sequence[int] = THREADS,
) -> None:
    """The payload is not opened by any number of threads, and the buffer, which was full, holds zeros."""
    for count in threads:
        out = bytearray(b"\xff" * payload.size)
        with opened(path) as file, pytest.raises(error, match=match) as raised:
            payload.read_into(file, key, aad, out, threads=count)
        assert type(raised.value) is error
        assert not any(out)


def digests_of(sealed: bytes) -> tuple[bytes, ...]:
    """The hash of each segment of a file."""
    starts = range(HEADER_LENGTH, len(sealed), LENGTH)
    return tuple(hashlib.sha256(sealed[start : start + LENGTH]).digest() for start in starts)


def trusting(path: Path, payload: Payload) -> Payload:
    """The payload as somebody signs it who was given a damaged file."""
    sealed = path.read_bytes()
    return replace(payload, header=sealed[:HEADER_LENGTH], digests=digests_of(sealed))


# -- sealing and opening ----------------------------------------------------------------------------------


@given(
    parts=st.lists(st.binary(max_size=200), max_size=8),
    length=st.integers(OVERHEAD + 1, 150),
    threads=st.integers(1, 3),
    readers=st.integers(1, 3),
)
@example(parts=[], length=33, threads=1, readers=1)
@example(parts=[bytes(WHOLE), bytes(WHOLE)], length=LENGTH, threads=2, readers=2)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], length: int, threads: int, readers: int
) -> None:
    """However it is cut into writes, and by however many threads: the same bytes, and FLOE in the file."""
    path, plain = tmp_path_factory.mktemp("payload") / "sealed", b"".join(parts)
    with path.open("wb") as sink, Sealer(KEY, AAD, sink, segment_length=length, threads=threads) as file:
        for part in parts:
            assert file.write(part) == len(part)
        assert file.tell() == len(plain)
        payload = file.finish()
    sealed = path.read_bytes()
    assert payload == file.payload
    assert (payload.size, payload.sealed_size) == (len(plain), len(sealed))
    assert decrypt(KEY, AAD, sealed) == plain
    with opened(path) as fd:
        payload.check(fd, threads=readers)
        assert payload.read(fd, KEY, AAD, threads=readers) == plain


@pytest.mark.parametrize("threads", THREADS)
def test_any_segments_are_read_alone(path: Path, payload: Payload, threads: int) -> None:
    """Every range of segments; damage elsewhere in the file is not even looked at."""
    count = payload.layout.count
    sealed = path.read_bytes()
    for first in range(count):
        for stop in range(first + 1, count + 1):
            begin, end = payload.layout.plain(first)[0], payload.layout.plain(stop - 1)[1]
            kept = slice(payload.layout.sealed(first)[0], payload.layout.sealed(stop - 1)[1])
            damaged = bytearray(len(sealed))
            damaged[:HEADER_LENGTH] = sealed[:HEADER_LENGTH]
            damaged[kept] = sealed[kept]
            path.write_bytes(damaged)
            out = bytearray(end - begin)
            with opened(path) as file:
                payload.read_into(file, KEY, AAD, out, segments=range(first, stop), threads=threads)
            assert out == PLAIN[begin:end]


@pytest.mark.parametrize("threads", THREADS)
def test_progress_is_told(path: Path, payload: Payload, threads: int) -> None:
    """Each segment once, as it has passed; whoever raises there has no plaintext either."""
    told: list[int] = []
    with opened(path) as file:
        payload.read(file, KEY, AAD, threads=threads, progress=told.append)
        assert sorted(told) == [7, WHOLE, WHOLE, WHOLE, WHOLE]
        payload.check(file, threads=threads, progress=told.append)
        assert sum(told) == 2 * payload.size

        def stop(_: int) -> None:
            raise KeyboardInterrupt

        out = bytearray(b"\xff" * payload.size)
        with pytest.raises(KeyboardInterrupt):
            payload.read_into(file, KEY, AAD, out, threads=threads, progress=stop)
        assert not any(out)


def test_many_open_at_once(tmp_path: Path) -> None:
    """Sixteen threads open the same file, each with two threads of its own."""
    plain = os.urandom(3 * 2**20)
    path = tmp_path / "sealed"
    payload = seal(path, plain, 2**16)
    with opened(path) as file, ThreadPoolExecutor(16) as pool:
        found = pool.map(lambda _: payload.read(file, KEY, AAD, threads=2) == plain, range(64))
        assert all(found)


def test_what_writes_to_files_writes_to_a_sealer(path: Path) -> None:
    """joblib, pickle with buffers, numpy's archives: none of them needs more than it has."""
    model: dict[str, Any] = {
        "weights": np.arange(50_000, dtype=np.float64).reshape(250, 200),
        "classes": ["a", "b"],
    }
    writers: dict[str, Callable[[Any], object]] = {
        "joblib": lambda file: joblib.dump(model, file),
        "pickle": lambda file: pickle.dump(model, file, protocol=5),
        "numpy": lambda file: np.savez(file, weights=model["weights"]),
        "array": lambda file: file.write(np.asfortranarray(np.ones((3, 4))).T),
        "nothing": lambda file: file.write(np.ones((0, 4))),
    }
    sizes = {}
    for name, write in writers.items():
        with path.open("wb") as sink, Sealer(KEY, AAD, sink) as file:
            assert file.writable()
            assert not file.readable()
            assert not file.seekable()
            write(file)
        assert file.payload
        with opened(path) as fd:
            sizes[name] = len(file.payload.read(fd, KEY, AAD))
            if name == "joblib":
                loaded = joblib.load(io.BytesIO(file.payload.read(fd, KEY, AAD)))
                assert np.array_equal(loaded["weights"], model["weights"])
    assert sizes["array"] == 96
    assert sizes["nothing"] == 0
    assert all(size > 400_000 for name, size in sizes.items() if name not in {"array", "nothing"})


BOUNDED = """
import os, resource, sys
from bento_rollout.artifacts.sealer import Sealer
threads, part = int(sys.argv[1]), bytes(1 << 20)
with open(os.devnull, "wb", buffering=0) as sink, Sealer(bytes(32), b"", sink, threads=threads) as file:
    for number in range(96):
        if number == 16:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        file.write(part)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_sealing_needs_no_memory_for_what_was_written(threads: int) -> None:
    """After 16 MiB it has what it needs: 80 MiB more take less than 2 more."""
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, str(threads)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 2048


# -- damage -----------------------------------------------------------------------------------------------


def test_every_byte_of_the_file_counts(path: Path, payload: Payload) -> None:
    """Whatever byte is another one: that the file differs is said, and nothing is released."""
    sealed = path.read_bytes()
    for place in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        index = (place - HEADER_LENGTH) // LENGTH
        said = f"segment {index} of the payload is not the one that was signed: its SHA-256 differs"
        header = "the payload's header is not the one that was signed"
        refused(path, payload, header if place < HEADER_LENGTH else said, threads=[1, 2])


def test_every_byte_counts_when_it_is_signed(path: Path, payload: Payload) -> None:
    """A signer was given a damaged file: FLOE itself refuses, and what GCM left behind is wiped."""
    sealed = path.read_bytes()
    for place in range(10):
        path.write_bytes(sealed[:place] + bytes([sealed[place] ^ 0x10]) + sealed[place + 1 :])
        with pytest.raises(ArtifactCorrupt, match="the payload's header"):
            trusting(path, payload)
    for place in range(10, len(sealed)):
        path.write_bytes(sealed[:place] + bytes([sealed[place] ^ 0x10]) + sealed[place + 1 :])
        refused(path, trusting(path, payload), "wrong tag|is marked", threads=[1, 2])


def test_the_size_of_the_file_is_signed(path: Path, payload: Payload) -> None:
    """Cut at every length, edges of segments among them, or longer."""
    sealed = path.read_bytes()
    for length in range(len(sealed)):
        path.write_bytes(sealed[:length])
        refused(path, payload, f"has {length} bytes, and {len(sealed)} were signed", threads=[1])
    for more in (1, OVERHEAD, LENGTH):
        path.write_bytes(sealed + bytes(more))
        refused(path, payload, f"has {len(sealed) + more} bytes, and {len(sealed)} were signed")
    # No memory is taken for what a manifest says and no file has.
    huge = Payload(
        payload.header[:2] + bytes([0x7F]) * 4 + payload.header[6:], 2**30, (bytes(32),), 0x7F7F7F7F
    )
    with opened(path) as file, pytest.raises(ArtifactCorrupt, match=f"and {huge.sealed_size} were signed"):
        huge.read(file, KEY, AAD)


def test_truncation_when_it_is_signed(path: Path, payload: Payload) -> None:
    """A manifest that fits the shorter file: the last segment is not one that was sealed as the last."""
    sealed, tried = path.read_bytes(), 0
    for length in range(HEADER_LENGTH + OVERHEAD, len(sealed)):
        digests = digests_of(sealed[:length])
        size = length - HEADER_LENGTH - OVERHEAD * len(digests)
        if Layout(size, LENGTH).sealed_size == length:
            path.write_bytes(sealed[:length])
            refused(path, Payload(payload.header, size, digests, LENGTH), "is marked", threads=[1, 2])
            tried += 1
    assert tried == len(PLAIN)


@pytest.mark.parametrize(
    "order",
    [(1, 0, 2, 3, 4), (0, 2, 1, 3, 4), (0, 0, 2, 3, 4), (0, 1, 2, 2, 4), (0, 1, 3, 2, 4)],
    ids=str,
)
def test_segments_keep_their_places(path: Path, payload: Payload, order: tuple[int, ...]) -> None:
    """Swapped or repeated, with the hashes that belong to them or not."""
    sealed = path.read_bytes()
    parts = (sealed[slice(*payload.layout.sealed(index))] for index in order)
    path.write_bytes(sealed[:HEADER_LENGTH] + b"".join(parts))
    refused(path, payload, "its SHA-256 differs")
    refused(path, trusting(path, payload), "wrong tag: it was edited or moved")


def test_a_second_last_segment(path: Path, payload: Payload) -> None:
    """An inner segment that is sealed as the last, by whoever has the key, is not taken for an inner one."""
    sealed = bytearray(path.read_bytes())
    message = Message.resume(KEY, AAD, payload.header)
    message.seal_into(memoryview(PLAIN[:WHOLE]), 0, True, memoryview(sealed)[HEADER_LENGTH:][:LENGTH])
    path.write_bytes(sealed)
    refused(path, trusting(path, payload), "segment 0 of the payload is marked 00000040, and not ffffffff")


def test_an_empty_last_segment_is_not_read(path: Path) -> None:
    """Legal FLOE, but of a size at which a sealer writes none: one size, one layout."""
    payload = seal(path, PLAIN[:WHOLE])
    message, out = Message.resume(KEY, AAD, payload.header), bytearray(LENGTH + OVERHEAD)
    message.seal_into(memoryview(PLAIN[:WHOLE]), 0, False, memoryview(out)[:LENGTH])
    message.seal_into(memoryview(b""), 1, True, memoryview(out)[LENGTH:])
    path.write_bytes(payload.header + out)
    assert decrypt(KEY, AAD, path.read_bytes()) == PLAIN[:WHOLE]
    refused(path, payload, f"has {HEADER_LENGTH + LENGTH + OVERHEAD} bytes, and {payload.sealed_size} were")
    digests = digests_of(path.read_bytes())
    with pytest.raises(ArtifactCorrupt, match="a payload of 32 bytes does not have 2 segments"):
        replace(payload, digests=digests)


def test_keys_and_purposes(path: Path, payload: Payload) -> None:
    """Another key, or other associated data: said by the header, once the first hash is right."""
    said = "header has a wrong tag: it was edited, or sealed with another key, or as another artifact or file"
    refused(path, payload, said, key=bytes(32))
    refused(path, payload, said, aad=AAD + b" ")
    sealed = bytearray(path.read_bytes())
    sealed[HEADER_LENGTH] ^= 1
    path.write_bytes(sealed)
    refused(
        path, payload, "segment 0 of the payload is not the one that was signed", key=bytes(32), threads=[1]
    )


def test_two_payloads_are_swapped(tmp_path: Path) -> None:
    """Two files of one artifact and one key."""
    one, two = seal(tmp_path / "one"), seal(tmp_path / "two")
    refused(tmp_path / "two", one, "header is not the one that was signed")
    refused(tmp_path / "one", replace(two, header=one.header), "segment . of the payload is not the one")


# -- files that change, or are none -----------------------------------------------------------------------


def test_a_file_that_changes_after_it_was_read(
    path: Path, payload: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was hashed is what is decrypted: a file that is overwritten in between changes nothing."""
    real = hashlib.sha256

    def sha256(data: memoryview) -> Any:
        found = real(data)
        path.write_bytes(bytes(payload.sealed_size))
        return found

    monkeypatch.setattr(hashlib, "sha256", sha256)
    out = bytearray(WHOLE)
    with opened(path) as file:
        payload.read_into(file, KEY, AAD, out, segments=range(1))
    assert out == PLAIN[:WHOLE]
    refused(path, payload, "header is not the one that was signed")


def test_a_file_that_is_cut_while_it_is_read(
    path: Path, payload: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had its size when it was opened, and three segments are right."""
    real, end = os.preadv, payload.layout.sealed(3)[0] + 5

    def preadv(file: int, buffers: list[memoryview], offset: int) -> int:
        os.truncate(path, end)
        return real(file, buffers, offset)

    sealed = path.read_bytes()
    for threads in THREADS:
        path.write_bytes(sealed)
        with monkeypatch.context() as patched:
            patched.setattr(os, "preadv", preadv)
            refused(
                path, payload, f"the payload is cut short: it ends at byte {end}|ends at", threads=[threads]
            )


def test_a_file_that_comes_in_small_pieces(
    path: Path, payload: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system may return less than was asked for."""
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, buffers, offset: real(file, [buffers[0][:7]], offset))
    with opened(path) as file:
        assert payload.read(file, KEY, AAD) == PLAIN


def test_a_disk_that_fails(path: Path, payload: Payload, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the system is no damage, and says what it is."""
    real = os.preadv

    def preadv(file: int, buffers: list[memoryview], offset: int) -> int:
        if offset > HEADER_LENGTH + LENGTH:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(file, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    refused(path, payload, "cannot be read at byte .*: Input/output error", error=ArtifactError)


@pytest.mark.parametrize("threads", THREADS)
def test_a_reader_that_is_interrupted(
    path: Path, payload: Payload, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Ctrl-C in the last segment: what was decrypted is wiped, and the threads have ended."""
    real = Message.open_into

    def open_into(self: Message, sealed: memoryview, index: int, last: bool, out: memoryview) -> None:
        real(self, sealed, index, last, out)
        if last:
            raise KeyboardInterrupt

    monkeypatch.setattr(Message, "open_into", open_into)
    out = bytearray(payload.size)
    with opened(path) as file, pytest.raises(KeyboardInterrupt):
        payload.read_into(file, KEY, AAD, out, threads=threads)
    assert not any(out)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("bento-rollout-unseal")]


def test_only_regular_files(tmp_path: Path, payload: Payload) -> None:
    """A pipe or a folder in the file's place is not waited for."""
    read, write = os.pipe()
    folder = os.open(tmp_path, os.O_RDONLY)
    for file in (read, folder):
        with pytest.raises(ArtifactCorrupt, match="not a regular file"):
            payload.check(file)
    for file in (read, write, folder):
        os.close(file)


def test_check_needs_no_key(path: Path, payload: Payload) -> None:
    """Hashes alone: the same errors, for whoever has no key."""
    with opened(path) as file:
        for threads in THREADS:
            payload.check(file, threads=threads)
    sealed = bytearray(path.read_bytes())
    sealed[-1] ^= 1
    path.write_bytes(sealed)
    with opened(path) as file:
        for threads in THREADS:
            with pytest.raises(
                ArtifactCorrupt, match="segment 4 of the payload is not the one that was signed"
            ):
                payload.check(file, threads=threads)


# -- what a manifest may say ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"size": -1}, "a payload of -1 bytes does not have 5 segments"),
        ({"size": 2**80}, f"a payload of {2**80} bytes does not have 5 segments"),
        ({"size": 4 * WHOLE}, "a payload of 128 bytes does not have 5 segments"),
        ({"size": 5 * WHOLE + 1}, "a payload of 161 bytes does not have 5 segments"),
        ({"digests": ()}, "does not have 0 segments"),
        ({"digests": (bytes(31),) * 5}, "the SHA-256 of a segment has 32 bytes"),
        ({"header": b""}, "header has 74 bytes, and here are 0"),
        ({"header": bytes(HEADER_LENGTH)}, "which is not FLOE GCM256_IV256"),
        ({"segment_length": 2**20}, "header says 64 bytes a segment, and it must be 1048576"),
    ],
    ids=str,
)
def test_a_manifest_that_contradicts_itself(payload: Payload, changed: dict[str, Any], said: str) -> None:
    """Nothing is allocated by what it says."""
    with pytest.raises(ArtifactCorrupt, match=said):
        replace(payload, **changed)


@pytest.mark.parametrize("size", [len(PLAIN) - 1, len(PLAIN) + 1])
def test_a_size_that_is_not_that_of_the_file(path: Path, payload: Payload, size: int) -> None:
    """As many segments, and a byte more or less."""
    refused(path, replace(payload, size=size), f"and {payload.sealed_size - len(PLAIN) + size} were signed")


@pytest.mark.parametrize("length", [0, 1, 2**32 - 1])
def test_segment_lengths_that_cannot_be(payload: Payload, length: int) -> None:
    """Refused before anything is computed by them, whatever is expected."""
    header = payload.header[:2] + length.to_bytes(4, "big") + payload.header[6:]
    with pytest.raises(ArtifactCorrupt, match=f"header says {length} bytes a segment"):
        replace(payload, header=header, segment_length=length)


def test_arguments_that_cannot_be(path: Path, payload: Payload) -> None:
    """A caller's mistake touches nothing: the buffer is as it was."""
    with opened(path) as file:
        for size in (0, len(PLAIN) - 1, len(PLAIN) + 1):
            out = bytearray(b"\x05" * size)
            with pytest.raises(InvalidValue, match=f"the buffer for {len(PLAIN)} bytes has {size}$"):
                payload.read_into(file, KEY, AAD, out)
            assert out == b"\x05" * size
        with pytest.raises(InvalidValue, match="and is read-only"):
            payload.read_into(file, KEY, AAD, memoryview(PLAIN))
        for segments in (range(0), range(3, 6), range(-1, 2), range(0, 4, 2), range(2, 1)):
            with pytest.raises(InvalidValue, match="it is a range within 0 to 5, one at least"):
                payload.read_into(file, KEY, AAD, bytearray(WHOLE), segments=segments)
        with pytest.raises(InvalidValue, match="a data key has 32 bytes, and this one 31"):
            payload.read(file, bytes(31), AAD)
        with pytest.raises(InvalidValue, match="threads=0: it is 1 or more"):
            payload.read(file, KEY, AAD, threads=0)
        with pytest.raises(InvalidValue, match="threads=0: it is 1 or more"):
            payload.check(file, threads=0)
    assert "digests" not in repr(payload)


# -- a sealer that fails ----------------------------------------------------------------------------------


def slots_of(sealer: Sealer) -> list[memoryview]:
    """Where it has plaintext."""
    return [slot.plain for slot in sealer._slots]


def abandoned(sealer: Sealer, slots: list[memoryview]) -> None:
    """It takes nothing more, says nothing of a payload, and holds no plaintext."""
    assert sealer.closed
    assert sealer.payload is None
    assert not any(map(any, slots))
    for use in (lambda: sealer.write(b"x"), sealer.finish, sealer.tell):
        with pytest.raises(ValueError, match="finished or was abandoned"):
            use()


@pytest.mark.parametrize("threads", THREADS)
def test_a_block_that_fails_abandons(path: Path, threads: int) -> None:
    """What was written until then is opened by nobody."""
    slots: list[memoryview] = []

    def fail() -> None:
        with path.open("wb") as sink, Sealer(KEY, AAD, sink, segment_length=LENGTH, threads=threads) as file:
            sealers.append(file)
            file.write(PLAIN)
            slots.extend(slots_of(file))
            assert any(map(any, slots))
            raise RuntimeError("the model cannot be dumped")

    sealers: list[Sealer] = []
    with pytest.raises(RuntimeError, match="the model cannot be dumped"):
        fail()
    abandoned(sealers[0], slots)
    with pytest.raises(ArtifactCorrupt):
        decrypt(KEY, AAD, path.read_bytes())


@pytest.mark.parametrize("threads", THREADS)
def test_closing_abandons(path: Path, threads: int) -> None:
    """Whoever forgets to finish has no payload; closing twice is closing."""
    with path.open("wb") as sink:
        file = Sealer(KEY, AAD, sink, segment_length=LENGTH, threads=threads)
        file.write(PLAIN)
        slots = slots_of(file)
        file.close()
        file.close()
    abandoned(file, slots)


@pytest.mark.parametrize("threads", THREADS)
def test_a_full_disk(threads: int) -> None:
    """The system's own error; a sealer that could not write is not to be used again."""
    with Path("/dev/full").open("wb", buffering=0) as full:
        with pytest.raises(OSError, match="No space left"):
            Sealer(KEY, AAD, full, threads=threads)
        sink = Once(full)
        file = Sealer(KEY, AAD, sink, segment_length=LENGTH, threads=threads)
        slots = slots_of(file)
        with pytest.raises(OSError, match="No space left"):
            file.write(PLAIN * 5)
        abandoned(file, slots)
        last = Sealer(KEY, AAD, Once(full), segment_length=LENGTH, threads=threads)
        last.write(b"few")
        slots = slots_of(last)
        with pytest.raises(OSError, match="No space left"):
            last.finish()
        abandoned(last, slots)


class Once:
    """A sink that takes the header, and gives everything else to another."""

    def __init__(self, rest: Sink) -> None:
        self.rest = rest
        self.begun = False

    def write(self, data: memoryview, /) -> int | None:
        """Take it."""
        if self.begun:
            return self.rest.write(data)
        self.begun = True
        return len(data)


class Sparing:
    """A sink that takes at most so many bytes at a time."""

    def __init__(self, most: int | None) -> None:
        self.most = most
        self.taken = bytearray()

    def write(self, data: memoryview, /) -> int | None:
        """Take some."""
        if self.most is None:
            return None
        self.taken += data[: self.most]
        return min(self.most, len(data))


def test_a_sink_that_takes_a_part() -> None:
    """An unbuffered file may take less than it is given; one that takes nothing has failed."""
    sink = Sparing(5)
    with Sealer(KEY, AAD, sink, segment_length=LENGTH) as file:
        file.write(PLAIN)
    assert decrypt(KEY, AAD, sink.taken) == PLAIN
    for most in (0, None):
        with pytest.raises(ArtifactError, match="takes no more bytes"):
            Sealer(KEY, AAD, Sparing(most))


def test_sealers_that_cannot_be(path: Path) -> None:
    """They write nothing."""
    with path.open("wb") as sink:
        with pytest.raises(InvalidValue, match="a data key has 32 bytes, and this one 31"):
            Sealer(bytes(31), AAD, sink)
        with pytest.raises(InvalidValue, match="segment_length=32"):
            Sealer(KEY, AAD, sink, segment_length=32)
        with pytest.raises(InvalidValue, match="threads=0: it is 1 or more"):
            Sealer(KEY, AAD, sink, threads=0)
    assert path.read_bytes() == b""


def test_only_bytes_that_lie_together(path: Path) -> None:
    """A view with gaps is a mistake, and abandons the payload: what was meant is not known."""
    with path.open("wb") as sink:
        file = Sealer(KEY, AAD, sink)
        with pytest.raises(TypeError):
            file.write(memoryview(PLAIN)[::2])
        with pytest.raises(TypeError):
            file.write("text")  # type: ignore[arg-type]
        file.close()


# -- memory -----------------------------------------------------------------------------------------------


def test_wiping() -> None:
    """Every byte, whatever the size and the shape; what cannot be written to is an error."""
    for size in (0, 1, 65_535, 65_536, 65_537, 200_000):
        buffer = bytearray(b"\xff" * size)
        wipe(buffer)
        assert buffer == bytes(size)
    array = np.ones((7, 5))
    wipe(array.data)
    assert not array.any()
    with pytest.raises(TypeError):
        wipe(memoryview(b"read-only"))


def test_private_memory_has_no_name() -> None:
    """It is zero, can be written, and no file stands behind it."""
    before = Path("/proc/self/maps").read_text(encoding="utf-8").count("/dev/zero")
    memory = private_memory(3 * 2**20 + 1)
    assert len(memory) == 3 * 2**20 + 1
    assert not any(memory)
    memory[-1] = 7
    assert Path("/proc/self/maps").read_text(encoding="utf-8").count("/dev/zero") == before
    assert len(private_memory(0)) == 0
    for size in (2**62, 2**70):
        with pytest.raises(MemoryError, match=f"no memory for {size} bytes"):
            private_memory(size)
    assert bytes_of(np.zeros(3).data).nbytes == 24
