"""The manifest: one form, every bound, and nothing but its declared error whatever the bytes."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.artifacts.canonical import GREATEST, Malformed, canonical, parse
from bento_rollout.artifacts.manifest import (
    HEADER_SIZE,
    MAX_FILES,
    MAX_MANIFEST,
    SEGMENT_OVERHEAD,
    SEGMENT_SIZE,
    Manifest,
    SealedFile,
    aad,
    blob_name,
    new_artifact_id,
    segment_count,
)
from bento_rollout.artifacts.paths import check_paths, path_problem
from bento_rollout.errors import ArtifactCorrupt, ArtifactNotFound, InvalidValue

PLAIN = SEGMENT_SIZE - SEGMENT_OVERHEAD
HEADER = bytes.fromhex("00000010000000000020") + bytes(64)
HASH = bytes(range(32))
ID = "0123456789abcdef" * 2


def sealed(path: str = "model.joblib", size: int = 5) -> SealedFile:
    """A file of this size."""
    return SealedFile(path, size, HEADER, (HASH,) * segment_count(size))


def manifest(*paths: str, **changes: Any) -> Manifest:
    """A manifest of these files."""
    files = tuple(sealed(path) for path in paths or ("model.joblib",))
    return replace(Manifest(ID, "screening", "v3", 42, files), **changes)


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The canonical JSON of a good manifest after a change."""
    value = json.loads(manifest("a", "b").to_bytes())
    change(value)
    return canonical(value)


def test_what_is_written_is_read() -> None:
    """A manifest comes back equal, and its bytes are these."""
    one = manifest()
    raw = one.to_bytes()
    assert Manifest.parse(raw) == one
    assert raw.decode() == (
        f'{{"artifact_id":"{ID}","files":[{{"blob":"0000.floe","header":"{HEADER.hex()}","path":"model.joblib",'
        f'"segments":["{HASH.hex()}"],"size":5}}],"format":"bento-rollout/sealed/v1","name":"screening",'
        '"serial":42,"version":"v3"}'
    )


PATHS = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8), min_size=1, max_size=3
).map(lambda parts: unicodedata.normalize("NFC", "/".join(parts)))


@given(
    st.lists(st.tuples(PATHS, st.integers(0, 3 * SEGMENT_SIZE)), min_size=1, max_size=4),
    st.integers(0, GREATEST),
)
def test_every_manifest_that_can_be_comes_back(files: list[tuple[str, int]], serial: int) -> None:
    """Whatever the paths, sizes and serials: refused when it is made, or read as it was."""
    try:
        one = Manifest(ID, "m", "v", serial, tuple(sealed(path, size) for path, size in files))
    except InvalidValue:
        return
    assert Manifest.parse(one.to_bytes()) == one


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(raw: bytes) -> None:
    """Bytes that nobody wrote raise the declared error and nothing else."""
    with pytest.raises(ArtifactCorrupt, match=r"^manifest\.json is not valid: "):
        Manifest.parse(raw)


@given(st.data())
def test_a_changed_byte_is_refused_or_another_manifest(data: st.DataObject) -> None:
    """One changed, dropped or added byte never gives the same manifest, nor another error."""
    raw = manifest("a", "b").to_bytes()
    at = data.draw(st.integers(0, len(raw) - 1))
    new = data.draw(st.binary(max_size=2))
    mutated = raw[:at] + new + raw[at + 1 :]
    if mutated == raw:
        return
    with suppress(ArtifactCorrupt):
        assert Manifest.parse(mutated).to_bytes() == mutated


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
)


@given(st.sampled_from(["artifact_id", "files", "format", "name", "serial", "version", "more"]), VALUES)
def test_any_value_in_a_member_is_refused_or_read(member: str, value: Any) -> None:
    """Values of every type in every member raise the declared error and nothing else."""
    raw = json.dumps({**json.loads(manifest().to_bytes()), member: value}).encode()
    with pytest.raises(ArtifactCorrupt):
        Manifest.parse(raw)


@given(st.sampled_from(["blob", "header", "path", "segments", "size", "more"]), VALUES)
def test_any_value_in_a_file_is_refused_or_read(member: str, value: Any) -> None:
    """The same for the members of a file."""
    found = json.loads(manifest().to_bytes())
    found["files"][0][member] = value
    try:
        Manifest.parse(
            json.dumps(found, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode(
                "utf-8", "surrogatepass"
            )
        )
    except ArtifactCorrupt:
        return
    assert member in {"path", "size"}


GOOD = manifest("a", "b").to_bytes()

BAD: dict[str, tuple[bytes, str]] = {
    "duplicate key": (GOOD.replace(b'"serial":42', b'"serial":42,"serial":42'), "the member 'serial' twice"),
    "NaN": (GOOD.replace(b":42", b":NaN"), "the number NaN is no integer"),
    "infinity": (GOOD.replace(b":42", b":-Infinity"), "the number -Infinity is no integer"),
    "float": (GOOD.replace(b":42", b":42.0"), "the number 42.0 is no integer"),
    "exponent": (GOOD.replace(b":42", b":1e9"), "the number 1e9 is no integer"),
    "negative zero": (GOOD.replace(b":42", b":-0"), "the number -0 is no integer"),
    "digits": (GOOD.replace(b":42", b":" + b"9" * 10_000), "the number 9+ is no integer"),
    "true is not 1": (GOOD.replace(b":42", b":true"), "serial is True, no integer"),
    "deep nesting": (b"[" * 1_000_000, "more than 16 deep"),
    "deep nesting in strings' shadow": (rb'{"\"":' + b"[" * 1_000_000, "more than 16 deep"),
    "many lists": (b"[" + b"[]," * 1_000_000 + b"[]]", "more than 20002 lists and objects"),
    "many quotes": (b'"' + rb"\"" * 4_000_000, "no JSON"),
    "too large": (b" " * (MAX_MANIFEST + 1), "more than 16777216"),
    "no UTF-8": (GOOD.replace(b"screening", b"scr\xe9ning"), "is no UTF-8"),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD, "no JSON"),
    "a second value": (GOOD + b"{}", "no JSON: Extra data"),
    "cut short": (GOOD[:-1], "no JSON"),
    "no object": (b"[]", "it is list, no object"),
    "white space": (GOOD.replace(b":42", b": 42"), "not in canonical form"),
    "a line end": (GOOD + b"\n", "not in canonical form"),
    "an escape too many": (GOOD.replace(b"screening", rb"\u0073creening"), "not in canonical form"),
    "half a surrogate pair": (GOOD.replace(b'"path":"a"', rb'"path":"\ud800"'), "half of a surrogate pair"),
    "order of members": (
        json.dumps(dict(reversed(json.loads(GOOD).items())), separators=(",", ":")).encode(),
        "not in canonical form",
    ),
    "unknown member": (changed(lambda it: it.update(more=1)), "it has the unknown member 'more'"),
    "missing member": (changed(lambda it: it.pop("serial")), "it lacks the member 'serial'"),
    "unknown member of a file": (
        changed(lambda it: it["files"][0].update(x=1)),
        r"files\[0\] has the unknown",
    ),
    "missing member of a file": (
        changed(lambda it: it["files"][1].pop("size")),
        r"files\[1\] lacks the member",
    ),
    "other format": (changed(lambda it: it.update(format="x/v2")), "format is 'x/v2', not 'bento"),
    "id": (changed(lambda it: it.update(artifact_id=ID.upper())), "32 lower-case hexadecimal digits"),
    "name": (changed(lambda it: it.update(name="../x")), "the name '../x' is not"),
    "long name": (changed(lambda it: it.update(name="x" * 64)), "the name 'x+' is not"),
    "version": (changed(lambda it: it.update(version="V1\n")), "the version 'V1"),
    "negative serial": (changed(lambda it: it.update(serial=-1)), "serial is -1, no integer from 0"),
    "no files": (changed(lambda it: it.update(files=[])), "it has 0 files, not 1 to 10000"),
    "negative size": (changed(lambda it: it["files"][0].update(size=-1)), r"files\[0\]\.size is -1"),
    "huge size": (GOOD.replace(b'"size":5', b'"size":9007199254740992'), "9007199254740992 is no integer"),
    "size of more segments": (
        changed(lambda it: it["files"][0].update(size=PLAIN + 1)),
        "1 segments; .* make 2",
    ),
    "size of fewer segments": (
        changed(lambda it: it["files"][0].update(segments=[HASH.hex()] * 2)),
        "2 segments; 5 bytes make 1",
    ),
    "no segments": (changed(lambda it: it["files"][0].update(segments=[])), "0 segments; 5 bytes make 1"),
    "short hash": (
        changed(lambda it: it["files"][0].update(segments=["00"])),
        r"a hash in files\[0\]\.segments",
    ),
    "upper-case hash": (changed(lambda it: it["files"][0].update(segments=["AB" * 32])), "lower-case"),
    "blobs in another order": (
        changed(lambda it: it["files"].reverse()),
        r"files\[0\]\.blob is '0001\.floe', not '0000\.floe'",
    ),
    "one blob twice": (
        changed(lambda it: it["files"][1].update(blob="0000.floe")),
        r"files\[1\]\.blob is '0000\.floe', not '0001\.floe'",
    ),
    "segment size 0": (changed(lambda it: it["files"][0].update(header="00" * HEADER_SIZE)), "FLOE header"),
    "segment size 1": (
        changed(lambda it: it["files"][0].update(header="00000000000100000020" + "00" * 64)),
        "FLOE header",
    ),
    "segment size 2^32-1": (
        changed(lambda it: it["files"][0].update(header="0000ffffffff00000020" + "00" * 64)),
        "FLOE header",
    ),
    "other cipher": (
        changed(lambda it: it["files"][0].update(header="01000010000000000020" + "00" * 64)),
        "FLOE header",
    ),
    "short header": (changed(lambda it: it["files"][0].update(header=HEADER.hex()[:-2])), "148 lower-case"),
    "a path twice": (changed(lambda it: it["files"][1].update(path="a")), "the paths 'a' and 'a' collide"),
    "a path in other case": (changed(lambda it: it["files"][1].update(path="A")), "'a' and 'A' collide"),
    "a file in a file": (changed(lambda it: it["files"][1].update(path="a/b")), "'a' and 'a/b' collide"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_manifests(case: str) -> None:
    """Each is refused for its own reason."""
    raw, message = BAD[case]
    with pytest.raises(ArtifactCorrupt, match=message):
        Manifest.parse(raw)


def test_a_million_files_are_refused_before_they_are_built() -> None:
    """More files than blobs can be named."""
    with pytest.raises(ArtifactCorrupt, match="more than 20002 lists and objects"):
        Manifest.parse(b'{"files":[' + b"{}," * 1_000_000 + b"{}]}")
    assert blob_name(MAX_FILES - 1) == "9999.floe"
    with pytest.raises(InvalidValue, match="it has 10001 files"):
        manifest(*(str(number) for number in range(MAX_FILES + 1)))


BAD_PATHS = {
    "": "is empty",
    "/etc/passwd": "is absolute",
    "../x": r"has the part '\.\.'",
    "a/../x": r"has the part '\.\.'",
    "a/..": r"has the part '\.\.'",
    ".": r"has the part '\.'",
    "./a": r"has the part '\.'",
    "a//b": "has the part ''",
    "a/": "has the part ''",
    "a\0b": "control character",
    "a\nb": "control character",
    "a\x7fb": "control character",
    "a\x85b": "control character",
    "a\\b": "backslash",
    "C:\\x": "backslash",
    "e\u0301": "Unicode's form C",
    "\ud800": "has no UTF-8",
    "x" * 256: "longer than",
    "/".join(["x" * 200] * 6): "longer than",
}


@pytest.mark.parametrize("path", BAD_PATHS, ids=ascii)
def test_bad_paths(path: str) -> None:
    """Each is refused, when a file is sealed and when a manifest is read."""
    with pytest.raises(InvalidValue, match=BAD_PATHS[path]):
        sealed(path)
    if path != "\ud800":
        with pytest.raises(ArtifactCorrupt, match=BAD_PATHS[path]):
            Manifest.parse(changed(lambda it: it["files"][0].update(path=path)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a", "a"),
        ("a", "A"),
        ("straße", "STRASSE"),
        ("é", "É"),
        ("ﬁle", "file"),
        ("a/b", "A"),
        ("Σ", "ς"),
        ("x/y", "X/Y"),
    ],
)
def test_paths_that_collide(one: str, other: str) -> None:
    """Two names of which some file system makes one are refused, in either order."""
    for paths in ([one, other], [other, one]):
        with pytest.raises(Malformed, match="collide"):
            check_paths(paths)


def test_good_paths() -> None:
    """What people name files is allowed."""
    for path in ("a", "weights/0.bin", ".hidden", "a b", "modèle/poids.bin", "模型", "..a", "a..", "…"):
        assert path_problem(path) is None
    check_paths(["a/b", "a/c", "A/d"])


def test_segments_follow_from_the_size() -> None:
    """One for nothing, a full last one where it fits, and the blob's length with them."""
    for size, segments in ((0, 1), (1, 1), (PLAIN, 1), (PLAIN + 1, 2), (2 * PLAIN, 2), (2 * PLAIN + 1, 3)):
        file = sealed("x", size)
        assert len(file.segments) == segments
        spans = [file.segment_span(index) for index in range(segments)]
        assert spans[0][0] == HEADER_SIZE
        assert all(start + length == after for (start, length), (after, _) in pairwise(spans))
        assert sum(spans[-1]) == file.blob_size == HEADER_SIZE + size + SEGMENT_OVERHEAD * segments


@pytest.mark.timeout(60)
def test_a_member_twice_among_many_is_found_at_once() -> None:
    """Half a million members of a stranger cost no more than to read them: sealed.sig is read like that."""
    names = [f'"{number}":0' for number in range(500_000)]
    with pytest.raises(Malformed, match="the member '499999' twice"):
        parse(f"{{{','.join([*names, names[-1]])}}}".encode(), limit=2**23, containers=1)


def test_what_later_layers_ask() -> None:
    """Files by path, names in the folder, AAD, context, and whether it is the model that was asked for."""
    one = manifest("a", "b/c")
    assert one.find("b/c") == ("0001.floe", one.files[1])
    assert one.resource_names() == {"manifest.json", "0000.floe", "0001.floe"}
    assert one.aad("a") == aad(ID, "screening", "v3", "a")
    assert json.loads(one.aad("a")) == {
        "artifact_id": ID,
        "format": "bento-rollout/sealed/v1",
        "name": "screening",
        "path": "a",
        "version": "v3",
    }
    assert one.context() == {"artifact_id": ID, "name": "screening", "version": "v3"}
    with pytest.raises(ArtifactNotFound, match="screening:v3 has no file 'x'; it has: 'a', 'b/c'"):
        one.find("x")
    one.expect("screening", "v3")
    with pytest.raises(ArtifactCorrupt, match="what lies at screening:v4 was sealed as screening:v3"):
        one.expect("screening", "v4")
    with pytest.raises(InvalidValue, match="16 random bytes, not 3"):
        new_artifact_id(b"abc")


def test_a_manifest_that_would_be_too_large_is_not_written() -> None:
    """A file of 300 GB has more hashes than the manifest holds: refused when it is sealed."""
    huge = SealedFile("x", 260_000 * PLAIN, HEADER, (HASH,) * 260_000)
    with pytest.raises(InvalidValue, match="more than 16777216: seal it in parts"):
        manifest(files=(huge,)).to_bytes()


# -- canonical JSON ---------------------------------------------------------------------------------------


def test_canonical_json_as_rfc_8785_shows_it() -> None:
    """Members by their names, and strings with the escapes of its section 3.2.2.2 only."""
    text = '€$\u000f\nA\'B"\\\\"/\u007f'
    assert canonical({"b": text, "a": [1, -5, True, False, None]}) == (
        '{"a":[1,-5,true,false,null],"b":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/\u007f"}'.encode()
    )


@pytest.mark.parametrize(
    "value",
    [1.0, float("nan"), 2**53, {"\U0001f600": 1}, {1: 2}, {"a": "\ud800"}, b"x", ("a",), [[[[object()]]]]],
    ids=["float", "nan", "large", "name", "number", "surrogate", "bytes", "tuple", "object"],
)
def test_what_has_no_canonical_json(value: object) -> None:
    """Floats, great integers and the like are refused, not rounded."""
    with pytest.raises(Malformed):
        canonical(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-GREATEST, GREATEST) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"])), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_canonical_json_is_read_as_it_was(value: object) -> None:
    """Written and read again it is the same value, with the same bytes."""
    try:
        raw = canonical(value)
    except Malformed:
        return
    assert parse(raw, limit=10_000, containers=100) == value
    assert canonical(parse(raw, limit=10_000, containers=100)) == raw


@given(st.text(alphabet='{}[]",:\\ntrue01-.eE ', max_size=60))
def test_the_strict_reader_never_says_anything_else(text: str) -> None:
    """Text that looks like JSON is read, or refused with its one error; what is read is what json reads."""
    try:
        value = parse(text.encode(), limit=100, containers=10)
    except Malformed:
        return
    assert value == json.loads(text)
