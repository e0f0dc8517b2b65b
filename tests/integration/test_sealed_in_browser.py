"""The reader in examples/edge, in a real browser: it opens what we seal, and refuses what we refuse."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import secrets
import shutil
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from bento_rollout import errors
from bento_rollout.artifacts.envelope import Envelope
from bento_rollout.artifacts.keys import Identities
from bento_rollout.artifacts.kms import KeyList
from bento_rollout.artifacts.manifest import Manifest, SealedFile
from bento_rollout.artifacts.signature import sign, verify_signature
from bento_rollout.artifacts.signers import Signer
from tests.browsing import chromium
from tests.fuzz.mutations import mutated, rewritten
from tests.sealing import NAME, SERIAL, VERSION, Sealed
from tests.whole.writing import FOLDER as WHOLE_FOLDER
from tests.whole.writing import index, lay_out

ROOT = Path(__file__).parent.parent.parent
VECTORS = ROOT / "tests" / "vectors" / "sealed"
INDEX: list[dict[str, Any]] = [
    vector
    for vector in json.loads((VECTORS / "index.json").read_text(encoding="utf-8"))
    if vector["layer"] != "trust"  # the reader is told whom to trust by its caller, not by a file
]
FULL = 2**20 - 32
"""Bytes of plaintext in a whole segment."""

FILES = {
    "model.joblib": os.urandom(2 * FULL + 12345),
    "weights/full.bin": os.urandom(FULL),
    "weights/one more.bin": os.urandom(FULL + 1),
    "empty": b"",
    "größe.txt": b"23",
}

READER = """
async ([work, argument]) => {
  const modules = await Promise.all(["sealed", "age", "strict"].map((name) => import(`/edge/${name}.mjs`)));
  const reader = Object.assign({}, ...modules);
  const bytes = async (url) => new Uint8Array(await (await fetch(url, { cache: "no-store" })).arrayBuffer());
  try {
    return { value: await eval(work)(reader, argument, bytes) };
  } catch (error) {
    return { error: error.name, exitCode: error.exitCode ?? null, message: error.message };
  }
}
"""

VECTOR = """
async (reader, { layer, url, key, identity }, bytes) => {
  const raw = await bytes(url);
  if (layer === "manifest") return (await reader.parseManifest(raw)).name;
  if (layer === "keys-json") return (await reader.parseKeysJson(raw)).format;
  if (layer === "keys-age") return reader.hex(await reader.openKeysAge(raw, identity));
  return Object.fromEntries(await reader.verifySignature(raw, await reader.Trust.of([key])));
}
"""

OPEN = """
async (reader, { address, names, pems, models, wanted, keys, paths }, bytes) => {
  let source = reader.fromUrl(address);
  if (names) {
    const named = async (name) => [name, new Blob([await bytes(address + name)])];
    source = reader.fromFiles(new Map(await Promise.all(names.map(named))));
  }
  for (const model of Object.values(models)) if (model.notAfter) model.notAfter = new Date(model.notAfter);
  const artifact = await reader.verify(source, await reader.Trust.of(pems, models), wanted);
  for (const path of paths) await artifact.check(path);
  if (keys.dataKey) keys.dataKey = reader.fromHex(keys.dataKey);
  await artifact.unlock(keys);
  const found = {};
  for (const path of paths) {
    const plain = await artifact.read(path);
    found[path] = [plain.length, reader.hex(await reader.sha256(plain))];
  }
  return found;
}
"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Say nothing."""


class Edge:
    """A page with the reader, and a folder that it can ask for."""

    def __init__(self, page: Any, folder: Path, address: str) -> None:
        self.page, self.folder, self.address = page, folder, address

    def run(self, work: str, argument: object) -> dict[str, Any]:
        """Run a function of the reader, an argument, and what fetches bytes; return what came of it."""
        found: dict[str, Any] = self.page.evaluate(READER, [work, argument])
        return found

    def open(self, sealed: Sealed, **asked: Any) -> dict[str, Any]:
        """Verify an artifact, check its files, and open them."""
        return self.run(OPEN, {
            "address": f"{self.address}/{sealed.folder.relative_to(self.folder)}/",
            "names": None,
            "pems": [sealed.signer.public.pem.decode()],
            "models": {},
            "wanted": {"name": NAME, "version": VERSION},
            "keys": {"identity": sealed.identity.to_text()},
            "paths": list(sealed.files),
        } | asked)  # fmt: skip


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Yield a page of an HTTP server on this machine; only such pages have WebCrypto."""
    folder = tmp_path_factory.mktemp("edge")
    (folder / "edge").symlink_to(ROOT / "examples" / "edge")
    (folder / "vectors").symlink_to(VECTORS)
    (folder / "blank.html").write_text("<!doctype html><title>blank</title>", encoding="utf-8")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        with chromium() as browser:
            page = browser.new_page()
            page.goto(f"{address}/blank.html")
            yield Edge(page, folder, address)
    finally:
        server.shutdown()
        server.server_close()
        serving.join()


@pytest.fixture
def sealed(edge: Edge) -> Sealed:
    """Return an artifact of two small files, to be broken."""
    return Sealed(edge.folder / secrets.token_hex(8), {"a": b"weights", "b": os.urandom(FULL + 10)})


def digests(files: dict[str, bytes]) -> dict[str, list[Any]]:
    """Size and SHA-256 of each file."""
    return {path: [len(plain), hashlib.sha256(plain).hexdigest()] for path, plain in files.items()}


def test_what_we_seal_is_opened(edge: Edge) -> None:
    """Whole segments, empty files and names beyond ASCII: every byte, from an address or from files."""
    sealed = Sealed(edge.folder / secrets.token_hex(8), FILES)
    wanted = {"value": digests(FILES)}
    names = [
        str(path.relative_to(sealed.folder)) for path in sorted(sealed.folder.rglob("*")) if path.is_file()
    ]
    assert edge.open(sealed) == wanted
    assert edge.open(sealed, names=names) == wanted
    assert edge.open(sealed, keys={"dataKey": sealed.data_key.hex()}) == wanted
    assert edge.open(sealed, models={NAME: {"minSerial": SERIAL, "artifactId": sealed.artifact_id}}) == wanted
    others = Signer.generate().public.pem.decode()
    assert edge.open(sealed, pems=[others, sealed.signer.public.pem.decode()]) == wanted


@pytest.mark.parametrize("vector", INDEX, ids=lambda vector: str(vector["file"]))
def test_vectors(edge: Edge, vector: dict[str, Any]) -> None:
    """A good one is read; a bad one is refused by exactly the class that the index says."""
    found = edge.run(VECTOR, {
        "layer": vector["layer"],
        "url": f"/vectors/{vector['file']}",
        "key": (VECTORS / "signature/key.pem").read_text(encoding="utf-8"),
        "identity": (VECTORS / "keys-age/identity.txt").read_text(encoding="utf-8"),
    })  # fmt: skip
    if vector["error"] is not None:
        assert (found["error"], found["exitCode"]) == (vector["error"], vector["exit_code"]), found
    elif vector["layer"] == "signature":
        assert found["value"] == json.loads((VECTORS / "signature/files.json").read_text(encoding="utf-8"))
    elif vector["layer"] == "keys-age":
        assert found["value"] == (VECTORS / "keys-age/data-key.hex").read_text(encoding="utf-8").strip(), (
            found
        )
    else:
        assert found["value"], found


WHOLE = [
    vector
    for vector in index()
    if "policy" not in vector and not vector.get("passphrase")  # neither policies nor passphrases are read
]


@pytest.mark.parametrize("vector", WHOLE, ids=lambda vector: str(vector["folder"]))
def test_whole_vectors(edge: Edge, vector: dict[str, Any]) -> None:
    """Whole artifacts come to the same as in Python; it verifies, without a data key, before it opens."""
    place = lay_out(vector, edge.folder / secrets.token_hex(8))
    name, _, version = vector.get("tag", ":").partition(":")
    path = vector.get("path", "model.bin")
    found = edge.run(OPEN, {
        "address": f"{edge.address}/{place.name}/",
        "names": [file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file()],
        "pems": [(WHOLE_FOLDER / "keys/sign.pub.pem").read_text(encoding="utf-8")],
        "models": {},
        "wanted": {"name": name, "version": version} if name else {},
        "keys": {"identity": (WHOLE_FOLDER / "keys/identity.txt").read_text(encoding="utf-8")},
        "paths": list(vector.get("files", [path])),
    })  # fmt: skip
    shutil.rmtree(place)
    if vector["error"] is None:
        assert {path: digest for path, (_, digest) in found["value"].items()} == vector["files"]
        return
    assert (found.get("error"), found.get("exitCode")) == (vector["error"], vector["exit_code"]), found
    assert "value" not in found


def edited(path: Path, at: int) -> None:
    """Flip a bit of a file."""
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def remove(folder: Path, *names: str) -> None:
    """Remove files."""
    for name in names:
        (folder / name).unlink()


def cut(path: Path, size: int) -> None:
    """Cut a file off, or append zeros to it."""
    raw = path.read_bytes()
    path.write_bytes(raw[:size] if size < 0 else raw + bytes(size))


def forge(sealed: Sealed, index: int, at: int) -> None:
    """Flip a bit of a blob, and sign a manifest that says the same: a signer without the data key could."""
    edited(sealed.blob(index), at)
    blob, files = sealed.blob(index).read_bytes(), list(sealed.manifest.files)
    spans = [files[index].segment_span(number) for number in range(len(files[index].segments))]
    hashes = tuple(hashlib.sha256(blob[start : start + size]).digest() for start, size in spans)
    files[index] = SealedFile(files[index].path, files[index].size, blob[:74], hashes)
    manifest = Manifest(sealed.artifact_id, NAME, VERSION, SERIAL, tuple(files))
    (sealed.folder / "sealed/manifest.json").write_bytes(manifest.to_bytes())
    sealed.sign()


def swap(one: Path, other: Path) -> None:
    """Swap two files."""
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


BROKEN: dict[str, tuple[type[errors.RolloutError], Callable[[Sealed], object]]] = {
    "no signature": (errors.SignatureInvalid, lambda it: (it.folder / "sealed.sig").unlink()),
    "no artifact": (
        errors.ArtifactNotFound,
        lambda it: remove(it.folder, "sealed.sig", "sealed/manifest.json"),
    ),
    "signed by another": (errors.SignatureInvalid, lambda it: it.sign(Signer.generate())),
    "a huge signature": (errors.SignatureInvalid, lambda it: cut(it.folder / "sealed.sig", 2**23)),
    "no manifest": (errors.ArtifactCorrupt, lambda it: (it.folder / "sealed/manifest.json").unlink()),
    "an edited manifest": (errors.ArtifactCorrupt, lambda it: edited(it.folder / "sealed/manifest.json", 40)),
    "no blob": (errors.ArtifactCorrupt, lambda it: it.blob(1).unlink()),
    "blobs swapped": (errors.ArtifactCorrupt, lambda it: swap(it.blob(0), it.blob(1))),
    "an edited header": (errors.ArtifactCorrupt, lambda it: edited(it.blob(0), 20)),
    "an edited mark": (errors.ArtifactCorrupt, lambda it: edited(it.blob(0), 75)),
    "an edited nonce": (errors.ArtifactCorrupt, lambda it: edited(it.blob(0), 80)),
    "an edited record": (errors.ArtifactCorrupt, lambda it: edited(it.blob(0), 92)),
    "an edited tag": (errors.ArtifactCorrupt, lambda it: edited(it.blob(1), -1)),
    "cut short": (errors.ArtifactCorrupt, lambda it: cut(it.blob(1), -1)),
    "a segment dropped": (errors.ArtifactCorrupt, lambda it: cut(it.blob(1), -42)),
    "bytes appended": (errors.ArtifactCorrupt, lambda it: cut(it.blob(0), 1)),
    "a signed and wrong header": (errors.ArtifactCorrupt, lambda it: forge(it, 0, 20)),
    "a signed and wrong mark": (errors.ArtifactCorrupt, lambda it: forge(it, 0, 77)),
    "a signed and wrong record": (errors.ArtifactCorrupt, lambda it: forge(it, 0, 92)),
    "a signed and wrong last tag": (errors.ArtifactCorrupt, lambda it: forge(it, 1, -1)),
    "another's data key": (errors.ArtifactCorrupt, lambda it: it.wrap(os.urandom(32), it.identity)),
    "wrapped for another": (errors.KeyUnavailable, lambda it: it.wrap(it.data_key, Identities.generate())),
    "an edited data key": (errors.ArtifactCorrupt, lambda it: edited(it.folder / "keys.age", -20)),
    "an edited header of age": (errors.ArtifactCorrupt, lambda it: edited(it.folder / "keys.age", -70)),
    "an edited keys.json": (errors.ArtifactCorrupt, lambda it: edited(it.folder / "keys.json", 0)),
    "no keys.age": (errors.KeyUnavailable, lambda it: (it.folder / "keys.age").unlink()),
    "no keys": (errors.ArtifactCorrupt, lambda it: remove(it.folder, "keys.age", "keys.json")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_refused(edge: Edge, sealed: Sealed, name: str) -> None:
    """Each fault has its class and exit code, and nothing is released."""
    wanted, break_it = BROKEN[name]
    break_it(sealed)
    found = edge.open(sealed)
    assert (found.get("error"), found.get("exitCode")) == (wanted.__name__, wanted.exit_code), found
    assert "value" not in found


ASKED: dict[str, tuple[type[errors.RolloutError], dict[str, Any]]] = {
    "nobody trusted": (errors.PolicyViolated, {"pems": []}),
    "a pinned key that is none": (errors.PolicyViolated, {"pems": ["x"]}),
    "another key trusted": (errors.SignatureInvalid, {"pems": [Signer.generate().public.pem.decode()]}),
    "an older serial": (errors.PolicyViolated, {"models": {NAME: {"minSerial": SERIAL + 1}}}),
    "another id": (errors.PolicyViolated, {"models": {NAME: {"minSerial": SERIAL, "artifactId": "0" * 32}}}),
    "too late": (
        errors.PolicyViolated,
        {"models": {NAME: {"notAfter": datetime(2020, 1, 1, tzinfo=timezone.utc).isoformat()}}},
    ),
    "a serial as text": (errors.PolicyViolated, {"models": {NAME: {"minSerial": "7"}}}),
    "a typing error in the trust": (errors.PolicyViolated, {"models": {NAME: {"min_serial": SERIAL + 1}}}),
    "an id in capitals": (errors.PolicyViolated, {"models": {NAME: {"artifactId": "A" * 32}}}),
    "no date": (errors.PolicyViolated, {"models": {NAME: {"notAfter": "tomorrow"}}}),
    "nobody answers": (errors.ArtifactError, {"address": "http://127.0.0.1:1/"}),
    "another name": (errors.ArtifactCorrupt, {"wanted": {"name": "other", "version": VERSION}}),
    "another version": (errors.ArtifactCorrupt, {"wanted": {"name": NAME, "version": "v4"}}),
    "another path": (errors.ArtifactNotFound, {"paths": ["c"]}),
    "another identity": (errors.KeyUnavailable, {"keys": {"identity": Identities.generate().to_text()}}),
    "no identity": (errors.KeyUnavailable, {"keys": {}}),
    "a typing error": (errors.KeyUnavailable, {"keys": {"identity": f"AGE-SECRET-KEY-1{'Q' * 58}"}}),
    "another data key": (errors.ArtifactCorrupt, {"keys": {"dataKey": "00" * 32}}),
    "a data key of 31 bytes": (errors.KeyUnavailable, {"keys": {"dataKey": "00" * 31}}),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_does_not_fit_is_refused(edge: Edge, sealed: Sealed, name: str) -> None:
    """A good artifact that is not what was asked for, or not to be opened by whoever asks."""
    wanted, asked = ASKED[name]
    found = edge.open(sealed, **asked)
    assert (found.get("error"), found.get("exitCode")) == (wanted.__name__, wanted.exit_code), found


@pytest.mark.parametrize("change", ["extra", "missing"])
def test_other_files_are_refused(edge: Edge, sealed: Sealed, change: str) -> None:
    """Where all files are known, one more or one fewer is told before any is opened."""
    names = ["sealed.sig", "keys.age", "keys.json", "sealed/manifest.json", "sealed/0000.floe"]
    if change == "extra":
        names += ["sealed/0001.floe", "sealed/0002.floe"]
        (sealed.folder / "sealed/0002.floe").write_bytes(b"")
    found = edge.open(sealed, names=names, paths=["a"])
    assert found.get("error") == "ArtifactCorrupt", found


def test_a_file_that_changes_is_told(edge: Edge, sealed: Sealed) -> None:
    """A browser refuses to read a file that has changed since it was chosen: that is an error of ours."""
    found = edge.run(
        """async (reader, { address, pem, identity }) => {
          const source = reader.fromUrl(address), changed = new DOMException("changed", "NotReadableError");
          const fails = { arrayBuffer: () => Promise.reject(changed), slice: () => fails };
          const changing = { names: source.names, async blob(name) {
            const blob = await source.blob(name);
            const slice = (begin, end) => begin ? fails : blob.slice(begin, end);
            return name.endsWith(".floe") ? { size: blob.size, slice } : blob;
          } };
          const artifact = await reader.verify(changing, await reader.Trust.of([pem]));
          await artifact.unlock({ identity });
          return artifact.read("a");
        }""",
        {
            "address": f"{edge.address}/{sealed.folder.relative_to(edge.folder)}/",
            "pem": sealed.signer.public.pem.decode(),
            "identity": sealed.identity.to_text(),
        },
    )
    assert (found.get("error"), found.get("exitCode")) == ("ArtifactError", 1), found


SAME = """
async (reader, { layer, cases, key, identity }) => {
  const trust = await reader.Trust.of([key]);
  const read = {
    manifest: reader.parseManifest,
    "keys-json": reader.parseKeysJson,
    "keys-age": (raw) => reader.openKeysAge(raw, identity),
    signature: (raw) => reader.verifySignature(raw, trust),
  }[layer];
  const verdict = (raw) => read(raw).then(() => "", (error) => error.name);
  return Promise.all(cases.map((one) => verdict(Uint8Array.from(atob(one), (c) => c.charCodeAt(0)))));
}
"""


@pytest.mark.parametrize("layer", ["manifest", "keys-json", "keys-age", "signature"])
def test_both_readers_agree(edge: Edge, layer: str) -> None:
    """Of a thousand edited inputs both accept the same, and refuse the others by the same class."""
    random, signer, identity = Random(20260101), Signer.generate(), Identities.generate()
    age = Envelope.seal(bytes(32), {}, recipients=identity.recipients).age
    assert age is not None
    good, read = {
        "manifest": ((VECTORS / "manifest/good.json").read_bytes(), Manifest.parse),
        "keys-json": ((VECTORS / "keys-json/good.json").read_bytes(), KeyList.parse),
        "keys-age": (age, lambda raw: Envelope.parse(raw, None).open({}, identities=identity)),
        "signature": (
            sign({"0000.floe": bytes(32), "manifest.json": bytes(32)}, signer),
            lambda raw: verify_signature(raw, [signer.public]),
        ),
    }[layer]
    cases = [mutated(random, good) for _ in range(700)]
    if layer != "keys-age":
        cases += [rewritten(random, good) for _ in range(300)]

    def verdict(raw: bytes) -> str:
        try:
            read(raw)
        except errors.RolloutError as error:
            return type(error).__name__
        return ""

    found = edge.run(SAME, {
        "layer": layer,
        "cases": [base64.b64encode(raw).decode() for raw in cases],
        "key": signer.public.pem.decode(),
        "identity": identity.to_text(),
    })  # fmt: skip
    ours = [verdict(raw) for raw in cases]
    assert "value" in found, found
    differing = [pair for pair in zip(cases, ours, found["value"], strict=True) if pair[1] != pair[2]]
    assert differing == []
    assert len(set(ours)) > 1


def test_base64_of_another_form_is_damage_in_any_stanza(edge: Edge) -> None:
    """Before any key is tried, and in stanzas that nobody here opens: an identity of nobody finds damage."""
    signer, stranger = Signer.generate(), Identities.generate()
    age = Envelope.seal(bytes(32), {}, recipients=Identities.generate().recipients).age
    assert age is not None
    head, mac = age.split(b"\n--- ", 1)
    whole = mac[:42] + b"A" + mac[43:]  # its last character has two bits that say nothing: here they are 0
    cases = {
        head + b"\n--- " + whole: "KeyUnavailable",
        head + b"\n--- " + mac[:42] + b"B" + mac[43:]: "ArtifactCorrupt",
        head + b"\n-> other\nAA\n--- " + whole: "KeyUnavailable",
        head + b"\n-> other\nAB\n--- " + whole: "ArtifactCorrupt",
        head + b"\n-> other\nA\n--- " + whole: "ArtifactCorrupt",
    }
    found = edge.run(SAME, {
        "layer": "keys-age",
        "cases": [base64.b64encode(raw).decode() for raw in cases],
        "key": signer.public.pem.decode(),
        "identity": stranger.to_text(),
    })  # fmt: skip
    assert found == {"value": list(cases.values())}
    for raw, wanted in cases.items():
        with pytest.raises(errors.RolloutError) as raised:
            Envelope.parse(raw, None).open({}, identities=stranger)
        assert type(raised.value).__name__ == wanted


def test_signatures_of_every_length(edge: Edge) -> None:
    """DER has numbers in their shortest form: each of many signatures is read."""
    signer = Signer.generate()
    for number in range(300):
        (edge.folder / f"{number}.sig").write_bytes(sign({"manifest.json": bytes(32)}, signer))
    found = edge.run(
        """async (reader, pem, bytes) => {
          const trust = await reader.Trust.of([pem]);
          let good = 0;
          for (let n = 0; n < 300; n++) {
            good += (await reader.verifySignature(await bytes(`/${n}.sig`), trust)).size;
          }
          return good;
        }""",
        signer.public.pem.decode(),
    )
    assert found == {"value": 300}


CHACHA = """
(reader, { key, nonce, sealed, aad }) => {
  const opened = reader.openChaCha(...[key, nonce, sealed, aad].map(reader.fromHex));
  return opened && reader.hex(opened);
}
"""


def test_chacha20_poly1305_of_rfc_8439(edge: Edge) -> None:
    """The examples of sections 2.3.2, 2.5.2 and 2.8.2, and of the appendix those at the edge of reduction."""
    key = bytes(range(32)).hex()
    block = """(reader, [key, nonce, counter]) =>
      reader.hex(reader.chachaBlock(reader.fromHex(key), reader.fromHex(nonce), counter))"""
    assert edge.run(block, [key, "000000090000004a00000000", 1])["value"] == (
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
        "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"
    )
    poly = "(reader, [key, text]) => reader.hex(reader.poly1305(reader.fromHex(key), reader.fromHex(text)))"
    r, s, ones = "{:02x}" + "00" * 15, "00" * 16, "ff" * 16
    for one_time, text, tag in (
        ("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b",
         b"Cryptographic Forum Research Group".hex(), "a8061dc1305136c6c22b8baf0c0127a9"),
        (r.format(2) + s, ones, "03" + "00" * 15),
        (r.format(2) + ones, "02" + "00" * 15, "03" + "00" * 15),
        (r.format(1) + s, ones + "f0" + "ff" * 15 + "11" + "00" * 15, "05" + "00" * 15),
        (r.format(1) + s, ones + "fb" + "fe" * 15 + "01" * 16, "00" * 16),
        (r.format(2) + s, "fd" + "ff" * 15, "fa" + "ff" * 15),
    ):  # fmt: skip
        assert edge.run(poly, [one_time, text])["value"] == tag
    example = {
        "key": bytes(range(0x80, 0xA0)).hex(),
        "nonce": "070000004041424344454647",
        "aad": "50515253c0c1c2c3c4c5c6c7",
        "sealed": "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
        "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
        "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
        "3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691",
    }
    advice = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
        b"sunscreen would be it."
    )
    assert edge.run(CHACHA, example)["value"] == advice.hex()
    assert edge.run(CHACHA, {**example, "aad": example["aad"][:-2] + "c8"})["value"] is None


def test_chacha20_poly1305_beside_openssl(edge: Edge) -> None:
    """It opens what OpenSSL sealed, at every length around a block, and nothing that was edited."""
    for length in [*range(34), 48, 63, 64, 65, 127, 128, 129]:
        key, nonce, text, aad = os.urandom(32), os.urandom(12), os.urandom(length), os.urandom(length % 20)
        sealed = ChaCha20Poly1305(key).encrypt(nonce, text, aad)
        case = {"key": key.hex(), "nonce": nonce.hex(), "aad": aad.hex(), "sealed": sealed.hex()}
        assert edge.run(CHACHA, case)["value"] == text.hex()
        wrong = bytearray(sealed)
        wrong[secrets.randbelow(len(wrong))] ^= 1 << secrets.randbelow(8)
        assert edge.run(CHACHA, {**case, "sealed": wrong.hex()})["value"] is None


def test_letters_fold_as_in_python(edge: Edge) -> None:
    """Two paths collide in the browser exactly if they do here: asked of every letter that Python knows."""
    letters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    letters = [letter for letter in letters if unicodedata.category(letter) != "Cn"]

    def fold(letter: str) -> str:
        return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", letter).casefold())

    pairs = [[letter, fold(letter)] for letter in letters]
    found = edge.run(
        """(reader, pairs) => {
          const wrong = [], back = new Map();
          for (const [letter, folded] of pairs) {
            const one = reader.folded(letter);
            if (one !== reader.folded(folded) || (back.get(one) ?? folded) !== folded) wrong.push(letter);
            back.set(one, folded);
          }
          return wrong;
        }""",
        [pair for pair in pairs if pair[0] != pair[1] or pair[0].isalpha()],
    )
    assert found == {"value": []}


@pytest.fixture
def shown(edge: Edge) -> Iterator[Any]:
    """Yield the page for people, which must complain of nothing."""
    page = edge.page.context.browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{edge.address}/edge/index.html")
    yield page
    page.close()
    assert complaints == []


def told(page: Any, sealed: Sealed, identity: str = "") -> tuple[str, list[str], list[str]]:
    """Choose a folder; return what the page says, the class of each step, and that of each segment."""
    page.get_by_label("The public key").fill(sealed.signer.public.pem.decode())
    page.get_by_label("An age identity").fill(identity)
    page.get_by_label("The artifact's folder").set_input_files(sealed.folder)
    page.locator("#told.good, #told.bad").wait_for()
    classes = "all => all.map((one) => one.getAttribute('class') ?? '')"
    return (
        page.locator("#told").inner_text(),
        page.locator("#chain li").evaluate_all(classes),
        page.locator("#files rect").evaluate_all(classes),
    )


def test_the_page_shows_what_is_verified(shown: Any, sealed: Sealed) -> None:
    """Steps and segments light up: hashes without an identity, and the plaintext with one."""
    said, steps, segments = told(shown, sealed)
    assert said == "screening:v3, serial 42: all of it is what was signed."
    assert (steps, segments) == ([*["good"] * 5, ""], ["good"] * 3)
    said, steps, segments = told(shown, sealed, sealed.identity.to_text().splitlines()[1])
    assert said == "screening:v3, serial 42: all of it is what was signed, and it opens."
    assert (steps, segments) == (["good"] * 6, ["open"] * 3)


def test_a_whole_identity_file_may_be_pasted(shown: Any, sealed: Sealed) -> None:
    """Its field is one line: the comment before the key runs into it."""
    both = Identities.generate().to_text() + sealed.identity.to_text()
    for text in (sealed.identity.to_text(), both):
        said, _, segments = told(shown, sealed, text)
        assert (said.endswith(", and it opens."), segments) == (True, ["open"] * 3)


def test_the_page_shows_what_is_wrong(shown: Any, sealed: Sealed) -> None:
    """The step that failed is red, those before it are green, and the segment is found."""
    forge(sealed, 1, -1)
    said, steps, segments = told(shown, sealed, sealed.identity.to_text().splitlines()[1])
    assert said == "ArtifactCorrupt (exit code 12): segment 1 has a wrong tag"
    assert (steps, segments) == ([*["good"] * 5, "bad"], ["open", "open", "bad"])
    sealed.sign(Signer.generate())
    said, steps, segments = told(shown, sealed)
    assert said.startswith("SignatureInvalid (exit code 10): sealed.sig: it names the key ")
    assert (steps, segments) == (["bad", *[""] * 5], [])


@pytest.mark.parametrize("width", [1200, 380])
def test_the_page_fits_every_screen(shown: Any, sealed: Sealed, width: int, tmp_path: Path) -> None:
    """Nothing is wider than the screen."""
    shown.set_viewport_size({"width": width, "height": 900})
    told(shown, sealed)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
