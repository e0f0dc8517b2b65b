"""What a caller must show again: the same headers give the same hash, others another one."""

from __future__ import annotations

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.preferring import preference
from bento_rollout.proof import proof_of, proves

VALUES = st.binary(min_size=0, max_size=20)


@given(VALUES, VALUES, VALUES)
def test_proofs_tell_callers_apart(authorization: bytes, key: bytes, other: bytes) -> None:
    """Both headers count, whatever is in them; who shows less, or other values, shows something else."""
    hypothesis.assume(other != key)
    headers = [(b"authorization", authorization), (b"x-user", key), (b"accept", b"*/*")]
    mine = proof_of(headers, ["X-User"])
    assert proves(mine, proof_of(list(reversed(headers)), ["x-user"]))
    assert not proves(mine, proof_of(headers[:1], ["X-User"]))
    assert not proves(mine, proof_of([(b"authorization", authorization), (b"x-user", other)], ["X-User"]))
    assert not proves(mine, "")


@given(VALUES, VALUES)
def test_the_bounds_of_values_count(first: bytes, second: bytes) -> None:
    """Two headers of a name are not one whose value is both."""
    hypothesis.assume(second)
    one = proof_of([(b"authorization", first + second)])
    assert one != proof_of([(b"authorization", first), (b"authorization", second)])


@given(st.text())
def test_any_preference_is_read(header: str) -> None:
    """Whatever a caller writes, a call is held for no longer than it can be, and never less than no time."""
    assert 0.0 <= preference(header).seconds(60.0) <= 60.0
