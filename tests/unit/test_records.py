"""The facts that travel: immutable, and identified."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.ids import uuid7
from bento_rollout.records import Flip, Observation, Outcome, Plan, Readiness, Reason


def test_uuid7_is_that_of_the_rfc() -> None:
    """The example of RFC 9562, appendix A.6, comes out as it stands there."""
    made = uuid7(0x017F22E279B0, bytes.fromhex("0cc318c4dc0c0c07398f"))
    assert made == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_any_id_is_a_uuid_of_version_7(unix_ms: int, entropy: bytes) -> None:
    """Whatever the time and the entropy: version 7, variant 10, and the time in front."""
    made = uuid.UUID(uuid7(unix_ms, entropy))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == unix_ms
    assert str(made) == uuid7(unix_ms, entropy)


@given(st.integers(0, 2**48 - 2), st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_later_ids_sort_later(unix_ms: int, first: bytes, second: bytes) -> None:
    """Ids of a later millisecond sort after those before it, as text."""
    assert uuid7(unix_ms, first) < uuid7(unix_ms + 1, second)


@given(st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_74_bits_tell_ids_apart(first: bytes, second: bytes) -> None:
    """Within a millisecond ids differ when 74 bits of their entropy do."""
    kept = ((1 << 62) - 1) | (0xFFF << 64)
    same = int.from_bytes(first, "big") & kept == int.from_bytes(second, "big") & kept
    assert (uuid7(1, first) == uuid7(1, second)) == same


def test_facts_are_frozen() -> None:
    """A plan, an observation, a readiness and a flip cannot be changed once they are made."""
    plan = Plan("boosted", 3, Reason.SPLIT, 17)
    observation = Observation("r", "predict", "boosted", 3, Reason.SPLIT, "id", Outcome.OK, 0.1)
    flip = Flip("r", "logistic", "boosted", object())
    readiness = Readiness("r", "boosted", "process", "ready", 2)
    facts = (plan, "variant"), (observation, "outcome"), (readiness, "state"), (flip, "target")
    for fact, name in facts:
        with pytest.raises(AttributeError):
            setattr(fact, name, "changed")


def test_a_flip_tells_nothing_of_its_instance() -> None:
    """Printing a flip does not print the model that it carries."""
    assert "secret" not in repr(Flip("r", "a", "b", "secret"))


def test_who_is_to_blame() -> None:
    """Errors, timeouts and absence are the variant's failures; a client's error and leaving are not."""
    failed = {outcome for outcome in Outcome if outcome.failed}
    assert failed == {Outcome.ERROR, Outcome.TIMEOUT, Outcome.UNAVAILABLE}


def test_reasons_are_the_values_of_the_header() -> None:
    """The reasons are those that callers can rely on."""
    known = {"split", "no_key", "targeted", "pinned", "fallback", "unavailable", "default"}
    assert {reason.value for reason in Reason} == known
