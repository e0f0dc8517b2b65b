"""Which code the state's traffic was granted to: digests by variant; pure."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["grant_command", "held", "retire_command", "returned"]

Digests = Mapping[str, str]


def held(granted: Digests, digests: Digests) -> list[str]:
    """Return the variants whose code is another one than their traffic was granted to.

    >>> held({"boosted": "d1"}, {"boosted": "d2", "forest": "d3"})
    ['boosted']
    """
    return [name for name, digest in digests.items() if granted.get(name, digest) != digest]


def returned(before: Digests, after: Digests, now: Digests, weights: Mapping[str, int]) -> dict[str, str]:
    """Return the grants of ``now`` without those that one change made.

    Args:
        before, after: the grants before and after that change.
        now: the grants as they are.
        weights: what the variants have once the change is taken back; who was retired since and has some
            again has it for the code that had it.

    A grant that a variant got for the first time stays: it says which code was meant.
    """
    changed = {name for name, digest in before.items() if after.get(name) != digest}
    revived = {name for name, milli in weights.items() if milli and name not in now}
    return {**now, **{name: digest for name, digest in before.items() if name in changed | revived}}


def grant_command(rollout: str, variant: str, milli: int) -> str:
    """Return the command that grants a variant's weight to the code that is there now.

    Args:
        rollout, variant: whose.
        milli: the weight that it has, in thousandths of a percent; 0 grants without traffic.

    >>> grant_command("screening", "forest", 12500)
    'bento-rollout weight screening forest=12.5'
    """
    return f"bento-rollout weight {rollout} {variant}={milli / 1000:g}"


def retire_command(rollout: str, variant: str, champion: str, milli: int) -> str:
    """Return the command that takes a variant out of the state, which the service does not have any more.

    Args:
        rollout, variant: whose.
        champion: who gets its weight, as it has it in fact already.
        milli: the weight that it has, in thousandths of a percent.

    >>> retire_command("screening", "forest", "logistic", 12500)
    'bento-rollout retire screening forest --in-favour-of logistic'
    """
    heir = f" --in-favour-of {champion}" if milli else ""
    return f"bento-rollout retire {rollout} {variant}{heir}"
