"""The data key's envelope: opened by whom it was wrapped for, bounded before any work is done."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bento_rollout.artifacts import kms as kms_module
from bento_rollout.artifacts.age_header import MAX_AGE, MAX_STANZAS, read_header
from bento_rollout.artifacts.canonical import Malformed
from bento_rollout.artifacts.envelope import MAX_RECIPIENTS, Envelope
from bento_rollout.artifacts.keys import Identities
from bento_rollout.artifacts.kms import KeyList, unwrap, wrap
from bento_rollout.errors import ArtifactCorrupt, InvalidValue, KeyUnavailable
from bento_rollout.testing import FileKms, KmsFailure

KEY = bytes(range(32))
CONTEXT = {"artifact_id": "00" * 16, "name": "m", "version": "v1"}
ALICE, BOB, EVE = (Identities.generate() for _ in range(3))
AGE = Envelope.seal(KEY, CONTEXT, recipients=[*ALICE.recipients, *BOB.recipients]).age or b""
PASSPHRASE = "correct horse"
WITH_PASSPHRASE = Envelope.seal(KEY, CONTEXT, passphrase=PASSPHRASE)
HEAD, _, PAYLOAD = AGE.rpartition(b"--- ")
MAC, PAYLOAD = PAYLOAD[:43], PAYLOAD[44:]
STANZA = b"-> X25519 " + b"A" * 43 + b"\n" + b"A" * 43 + b"\n"


def test_each_recipient_opens_it() -> None:
    """And nobody else; the list of recipients is for people."""
    envelope = Envelope.seal(KEY, CONTEXT, recipients=[*BOB.recipients, *ALICE.recipients, *BOB.recipients])
    assert envelope.keys.recipients == tuple(sorted([*ALICE.recipients, *BOB.recipients]))
    again = Envelope.parse(envelope.age, envelope.keys.to_bytes())
    assert again == envelope
    for who in (ALICE, BOB):
        assert again.open(CONTEXT, identities=who) == KEY
    with pytest.raises(KeyUnavailable, match=r"keys\.age was not wrapped for the identity from this process"):
        again.open(CONTEXT, identities=EVE)
    with pytest.raises(KeyUnavailable, match="is opened by an identity, and none was given"):
        again.open(CONTEXT)


def test_one_of_several_identities_is_enough() -> None:
    """A host may have old and new ones."""
    both = Identities((*EVE.secrets, *BOB.secrets), "both")
    assert Envelope(AGE, KeyList()).open(CONTEXT, identities=both) == KEY


def test_a_passphrase_stands_alone() -> None:
    """It opens what was wrapped with it, and is asked for by name."""
    assert WITH_PASSPHRASE.needs_passphrase
    assert not Envelope(AGE, KeyList()).needs_passphrase
    assert WITH_PASSPHRASE.open(CONTEXT, passphrase=PASSPHRASE) == KEY
    with pytest.raises(KeyUnavailable, match="was not wrapped for the passphrase") as raised:
        WITH_PASSPHRASE.open(CONTEXT, passphrase="wrong horse")
    assert "horse" not in str(raised.value)
    with pytest.raises(KeyUnavailable, match="is opened by a passphrase, and none was given"):
        WITH_PASSPHRASE.open(CONTEXT, identities=ALICE)
    with pytest.raises(InvalidValue, match="not both"):
        Envelope.seal(KEY, CONTEXT, passphrase="x", recipients=ALICE.recipients)
    with pytest.raises(InvalidValue, match="the passphrase is empty"):
        Envelope.seal(KEY, CONTEXT, passphrase="")


def test_what_cannot_be_sealed() -> None:
    """Nobody who could open it, odd keys, odd recipients; a secret that was given by mistake is not shown."""
    with pytest.raises(InvalidValue, match="nobody could open it"):
        Envelope.seal(KEY, CONTEXT)
    with pytest.raises(InvalidValue, match="a data key has 32 bytes, not 31"):
        Envelope.seal(KEY[:31], CONTEXT, recipients=ALICE.recipients)
    with pytest.raises(InvalidValue, match="does not begin with age1") as raised:
        Envelope.seal(KEY, CONTEXT, recipients=[str(ALICE.secrets[0])])
    assert "SECRET" not in str(raised.value)
    with pytest.raises(InvalidValue, match="'age1xyz' is no recipient of age"):
        Envelope.seal(KEY, CONTEXT, recipients=["age1xyz"])
    many = [str(pyrage.x25519.Identity.generate().to_public()) for _ in range(MAX_RECIPIENTS + 1)]
    with pytest.raises(InvalidValue, match="65 recipients are too many"):
        Envelope.seal(KEY, CONTEXT, recipients=many)
    assert Envelope.parse(Envelope.seal(KEY, CONTEXT, recipients=many[1:]).age, None).age


def scrypt(factor: str, count: int = 1) -> bytes:
    """An age file that asks for this work."""
    stanza = b"-> scrypt " + b"A" * 22 + b" " + factor.encode() + b"\n" + b"A" * 43 + b"\n"
    return b"age-encryption.org/v1\n" + stanza * count + b"--- " + MAC + b"\n" + PAYLOAD


def stanzas(count: int) -> bytes:
    """An age file with so many stanzas."""
    return b"age-encryption.org/v1\n" + STANZA * count + b"--- " + MAC + b"\n" + PAYLOAD


BAD = {
    "nothing": (b"", "no age file"),
    "version 2": (AGE.replace(b"/v1", b"/v2"), "no age file of version 1"),
    "armor": (b"-----BEGIN AGE ENCRYPTED FILE-----\n" + base64.b64encode(AGE), "without `age --armor`"),
    "too large": (AGE + bytes(MAX_AGE), "more than 16384"),
    "scrypt work factor 30": (scrypt("30"), "asks for the work factor 30, and at most 22 is done"),
    "scrypt work factor 23": (scrypt("23"), "asks for the work factor 23"),
    "scrypt work factor of many digits": (scrypt("9" * 1000), "asks for the work factor 9+,"),
    "scrypt work factor with a zero": (scrypt("018"), "lacks salt or work factor"),
    "scrypt work factor below": (scrypt("-1"), "lacks salt or work factor"),
    "scrypt without factor": (scrypt(""), "begin with an arrow|lacks salt"),
    "two scrypt stanzas": (scrypt("10", 2), "a passphrase stands alone"),
    "scrypt beside X25519": (scrypt("10").replace(b"--- ", STANZA + b"--- "), "a passphrase stands alone"),
    "hundreds of stanzas": (stanzas(150), "more than 128 stanzas"),
    "one huge stanza": (
        AGE.replace(b"--- ", b"-> X\n" + (b"A" * 64 + b"\n") * 250 + b"\n--- "),
        "more than 16384",
    ),
    "one stanza too many": (stanzas(MAX_STANZAS + 1), "more than 128 stanzas"),
    "no stanza": (stanzas(0), "has no stanza"),
    "no MAC": (AGE.replace(b"--- " + MAC, b"---"), "no message authentication code"),
    "header cut short": (HEAD, "cut short"),
    "payload cut short": (AGE[:-1], "its payload has 63 bytes, not the 64 of a data key of 32"),
    "31 bytes": (pyrage.encrypt(KEY[:31], [ALICE.secrets[0].to_public()]), "63 bytes, not the 64"),
    "33 bytes": (pyrage.encrypt(KEY + b"x", [ALICE.secrets[0].to_public()]), "65 bytes, not the 64"),
    "a stanza of an arrow": (
        stanzas(1).replace(b"-> X25519 ", b"->"),
        "does not begin with an arrow and its kind",
    ),
    "a body that is no base64": (
        stanzas(1).replace(b"A" * 43 + b"\n---", b"?\n---"),
        "body of stanza 1 is damaged",
    ),
    "a long line": (
        stanzas(1).replace(b"A" * 43 + b"\n---", b"A" * 65 + b"\n---"),
        "body of stanza 1 is damaged",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_headers_are_refused_before_any_work(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key and no passphrase is tried."""
    raw, message = BAD[case]
    with pytest.raises(ArtifactCorrupt, match=rf"^keys\.age is not valid: .*{message}"):
        Envelope.parse(raw, None)
    with pytest.raises(ArtifactCorrupt, match=message):
        Envelope(raw, KeyList()).open(CONTEXT, identities=ALICE, passphrase="x")


def test_good_headers() -> None:
    """What age writes is within the bounds: grease, several lines, a passphrase."""
    assert read_header(AGE).kinds.count("X25519") == 2
    assert read_header(WITH_PASSPHRASE.age or b"").kinds == ("scrypt",)
    assert read_header(scrypt("22")).passphrase
    assert len(read_header(stanzas(MAX_STANZAS)).kinds) == MAX_STANZAS
    long_body = b"-> x-grease a b c\n" + b"A" * 64 + b"\n" + b"A" * 64 + b"\n\n"
    assert read_header(AGE.replace(b"v1\n", b"v1\n" + long_body)).kinds[0] == "x-grease"


def test_damage_is_told_from_another_recipient() -> None:
    """A changed MAC or payload is damage; a changed stanza is one that opens nothing."""
    other = bytes(reversed(MAC))
    for damaged in (AGE.replace(MAC, other), AGE[:-1] + bytes([AGE[-1] ^ 1]), AGE[:-60] + bytes(60)):
        with pytest.raises(ArtifactCorrupt, match=r"keys\.age is damaged"):
            Envelope(damaged, KeyList()).open(CONTEXT, identities=ALICE)


@given(st.binary(max_size=300) | st.builds(lambda tail: b"age-encryption.org/v1\n-> " + tail, st.binary()))
def test_arbitrary_bytes_are_refused(raw: bytes) -> None:
    """Whatever the bytes: the declared errors and nothing else."""
    with pytest.raises(ArtifactCorrupt, match="is not valid"):
        Envelope.parse(raw, None)
    with pytest.raises(ArtifactCorrupt, match="is not valid"):
        Envelope.parse(None, raw)
    with pytest.raises(Malformed):
        read_header(raw)


@given(st.data())
@settings(max_examples=300)
def test_a_changed_byte_gives_no_other_key(data: st.DataObject) -> None:
    """A changed `keys.age` gives the same key or one of the declared errors."""
    at = data.draw(st.integers(0, len(AGE) - 1))
    mutated = AGE[:at] + data.draw(st.binary(max_size=2)) + AGE[at + 1 :]
    with suppress(ArtifactCorrupt, KeyUnavailable):
        assert Envelope.parse(mutated, None).open(CONTEXT, identities=ALICE) == KEY


# -- keys.json and KMS ------------------------------------------------------------------------------------


@pytest.fixture
def kms(tmp_path: Path) -> FileKms:
    """A service whose master key is a file."""
    return FileKms(tmp_path / "master.key")


def test_a_lost_file_is_not_told_as_a_kms_that_never_was() -> None:
    """Only a copy helps."""
    sealed = Envelope.seal(KEY, CONTEXT, recipients=ALICE.recipients)
    with pytest.raises(KeyUnavailable, match=r"keys\.age is missing, .* from a copy"):
        Envelope.parse(None, sealed.keys.to_bytes()).open(CONTEXT, identities=ALICE)


def test_a_kms_opens_what_it_wrapped(kms: FileKms, tmp_path: Path) -> None:
    """With or without recipients beside it, and never in another context."""
    alone = Envelope.seal(KEY, CONTEXT, kms={"eu": kms})
    assert alone.age is None
    again = Envelope.parse(None, alone.keys.to_bytes())
    assert again.open(CONTEXT, kms={"eu": FileKms(tmp_path / "master.key")}) == KEY
    with pytest.raises(
        KeyUnavailable, match=r"only a KMS opens this: 'eu' .*; unwrap of the KMS 'eu' raised InvalidTag"
    ):
        again.open({**CONTEXT, "version": "v2"}, kms={"eu": kms})
    with pytest.raises(KeyUnavailable, match=r"keys\.json has no key that the KMS 'us' wrapped"):
        again.open(CONTEXT, kms={"us": kms})
    beside = Envelope.seal(KEY, CONTEXT, recipients=ALICE.recipients, kms={"eu": kms})
    assert (
        beside.open(CONTEXT, identities=ALICE) == beside.open(CONTEXT, identities=EVE, kms={"eu": kms}) == KEY
    )


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (KmsFailure.RAISES, "unwrap of the KMS 'eu' raised PermissionError$"),
        (KmsFailure.HANGS, "unwrap of the KMS 'eu' took longer than 0.2 s"),
        (KmsFailure.SHORT, "unwrap of the KMS 'eu' returned 31 bytes, not a key of 32 bytes"),
    ],
)
def test_a_kms_that_fails(kms: FileKms, failure: KmsFailure, message: str) -> None:
    """It raises, hangs, or returns 31 bytes: told by its name, and the next one is asked."""
    envelope = Envelope.seal(KEY, CONTEXT, kms={"eu": kms, "us": kms})
    kms.failure = failure
    with pytest.raises(KeyUnavailable, match=message) as raised:
        unwrap(envelope.keys, {"eu": kms}, CONTEXT, timeout=0.2)
    assert "AccessDenied" not in str(raised.value)
    if failure is not KmsFailure.SHORT:
        with pytest.raises(KeyUnavailable, match="wrap of the KMS 'eu'"):
            wrap(KEY, {"eu": kms}, CONTEXT, timeout=0.2)
    good = FileKms.__new__(FileKms)
    good.__dict__.update(kms.__dict__, failure=None)
    assert envelope.open(CONTEXT, kms={"eu": kms, "us": good}, kms_timeout=0.2) == KEY


class Answers:
    """A service that returns what it is told to."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        return self.unwrap(key, context)

    def unwrap(self, blob: bytes, context: Mapping[str, str]) -> bytes:
        if isinstance(self.answer, BaseException):
            raise self.answer
        answer: bytes = self.answer
        return answer


@pytest.mark.parametrize(
    "answer", [None, "text", b"", bytes(33), bytes(9000), bytearray(32), SystemExit(), KEY.hex()]
)
def test_odd_answers(answer: Any) -> None:
    """Whatever a service returns or raises, no key comes of it, and nothing of the answer is shown."""
    services = {"eu": Answers(answer)}
    with pytest.raises(KeyUnavailable) as raised:
        unwrap(KeyList((), {"eu": b"blob"}), services, CONTEXT)
    assert KEY.hex() not in str(raised.value)
    if not (isinstance(answer, bytes) and 0 < len(answer) < 9000):
        with pytest.raises(KeyUnavailable, match=r"wrap of the KMS 'eu' (returned|raised)"):
            wrap(KEY, services, CONTEXT)


def test_calls_that_hang_do_not_pile_up(kms: FileKms, monkeypatch: pytest.MonkeyPatch) -> None:
    """After eight that hang no more threads are made; when they end, calls are made again."""
    monkeypatch.setattr(kms_module, "_places", threading.BoundedSemaphore(2))
    released = threading.Event()
    others = set(threading.enumerate())

    class Stuck(Answers):
        def unwrap(self, blob: bytes, context: Mapping[str, str]) -> bytes:
            released.wait()
            return KEY

    keys = KeyList((), {"eu": b"blob"})
    for _ in range(2):
        with pytest.raises(KeyUnavailable, match="took longer"):
            unwrap(keys, {"eu": Stuck(None)}, CONTEXT, timeout=0.05)
    before = threading.active_count()
    with pytest.raises(KeyUnavailable, match="hang in this process already"):
        unwrap(keys, {"eu": Stuck(None)}, CONTEXT, timeout=0.05)
    assert threading.active_count() == before
    released.set()
    for thread in set(threading.enumerate()) - others:
        thread.join(10)
    assert unwrap(keys, {"eu": Stuck(None)}, CONTEXT) == KEY


def test_names_of_services(kms: FileKms) -> None:
    """They are short words, and few."""
    with pytest.raises(InvalidValue, match="the service's name 'a b' is not"):
        wrap(KEY, {"a b": kms}, CONTEXT)
    with pytest.raises(InvalidValue, match="17 services are too many"):
        wrap(KEY, {f"k{number}": kms for number in range(17)}, CONTEXT)


LIST = KeyList(tuple(ALICE.recipients), {"eu": b"blob", "us": b"other"}).to_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "x"}, "format is 'x'"),
        ({"more": 1}, "unknown member 'more'"),
        ({"recipients": ["AGE-SECRET-KEY-1"]}, "not a recipient of age"),
        ({"recipients": ["age1b", "age1a"]}, "not sorted"),
        ({"recipients": ["age1a"] * 2}, "not sorted"),
        ({"recipients": sorted(f"age1{number:04d}" for number in range(129))}, "too long"),
        ({"kms": {}}, "kms is dict, no list"),
        ({"kms": [{"name": "eu", "blob": "?"}]}, "is no base64"),
        ({"kms": [{"name": "eu", "blob": ""}]}, "has 0 bytes"),
        ({"kms": [{"name": "eu", "blob": base64.b64encode(bytes(8193)).decode()}]}, "has 8193 bytes"),
        ({"kms": [{"name": "../eu", "blob": "AA=="}]}, "name of a service"),
        ({"kms": [{"name": "eu", "blob": "AA=="}] * 2}, "not sorted"),
        ({"kms": [{"name": f"k{number}", "blob": "AA=="} for number in range(18)]}, "more than 19 lists"),
    ],
)
def test_bad_key_lists(change: dict[str, Any], message: str) -> None:
    """Each is refused for its own reason."""
    raw = json.dumps({**json.loads(LIST), **change}, separators=(",", ":"), sort_keys=True).encode()
    with pytest.raises(ArtifactCorrupt, match=rf"^keys\.json is not valid: .*{message}"):
        Envelope.parse(None, raw)


@given(st.data())
def test_a_changed_byte_in_the_list(data: st.DataObject) -> None:
    """Refused or read, and canonical either way."""
    at = data.draw(st.integers(0, len(LIST) - 1))
    mutated = LIST[:at] + data.draw(st.binary(max_size=2)) + LIST[at + 1 :]
    with suppress(ArtifactCorrupt):
        assert KeyList.parse(mutated).to_bytes() == mutated


def test_neither_file_is_there() -> None:
    """An artifact without any wrapped key says so."""
    with pytest.raises(ArtifactCorrupt, match=r"neither keys\.age nor keys\.json is there"):
        Envelope.parse(None, None)


def test_the_fake_keeps_its_master_key_to_its_owner(tmp_path: Path) -> None:
    """Its file is private, and another one opens nothing."""
    path = tmp_path / "master.key"
    blob = FileKms(path).wrap(KEY, CONTEXT)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyUnavailable, match="InvalidTag"):
        unwrap(KeyList((), {"x": blob}), {"x": FileKms(tmp_path / "other.key")}, CONTEXT)
