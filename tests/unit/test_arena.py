"""Shared memory between two processes: regions never overlap, come back, and cost what is used."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bento_rollout.arena import GRAIN, Arena


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3000)), max_size=60))
def test_regions_hold_what_was_put_there(steps: list[tuple[bool, int]]) -> None:
    """Whatever is taken and freed in whatever order: regions keep their bytes, and all of it comes back."""
    arena, held = Arena(size=1 << 14), {}
    other = Arena(arena.fd, arena.size)
    for number, (take, size) in enumerate(steps):
        if take:
            data = bytes([number % 256]) * size
            start = arena.put(memoryview(data))
            if start is not None:
                held[start] = data
        elif held:
            arena.free(sorted(held)[size % len(held)])
            del held[sorted(held)[size % len(held)]]
        for start, data in held.items():
            assert other.get(start, len(data)) == data
    for start in held:
        arena.free(start)
    assert arena.used == 0
    assert arena.put(memoryview(bytes(arena.size))) == 0  # in one piece again
    other._map.close()
    arena.close()


def test_a_full_arena_says_so() -> None:
    """Without room nothing is written, and the next that is freed can be used."""
    arena = Arena(size=4 * GRAIN)
    first = arena.put(memoryview(bytes(3 * GRAIN)))
    assert first is not None
    assert arena.put(memoryview(bytes(2 * GRAIN))) is None
    arena.free(first)
    assert arena.put(np.ones(GRAIN // 4).data) == 0
    arena.close()
