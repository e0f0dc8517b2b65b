"""What is known about the service around a state: its live workers, its variants, and who gains traffic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .applying import differences
from .assignment import normal_key
from .errors import NotReady
from .spec import RolloutSpec
from .state import Commit, RolloutState
from .store.presence import Card, VariantCard

__all__ = ["View", "gainers", "undone_rollback"]

_WORST_FIRST = ("missing", "failed", "unready", "starting", "ready")


@dataclass(frozen=True)
class View:
    """A state, and the service around it as its workers describe themselves.

    Attributes:
        cards: of the workers that are alive now.
        last: the newest card that any worker ever wrote; what the service is like when none is alive.
        state: the state that is looked at.
    """

    cards: tuple[Card, ...]
    last: Card | None
    state: RolloutState

    @property
    def described(self) -> tuple[Card, ...]:
        """The cards that say what the service is like: the live ones, else the last one."""
        return self.cards or ((self.last,) if self.last else ())

    @property
    def known(self) -> tuple[str, ...]:
        """Every variant that the service has; when nobody ever described it, those that the state names."""
        names = [name for card in self.described for name in card.variants]
        return tuple(dict.fromkeys(names)) or tuple(sorted(self.state.named | set(self.state.granted)))

    @property
    def has_before_flip(self) -> bool:
        """Whether the service has hooks that must run before a flip."""
        return any(card.before_flip for card in self.described)

    @property
    def unconfirmed(self) -> tuple[str, ...]:
        """The note that no live worker confirmed readiness, when there is none."""
        return () if self.cards else ("no worker is live: nobody confirmed that the variants are ready",)

    def digests(self, names: Iterable[str]) -> dict[str, str]:
        """Return the digests of those of the variants that the service has."""
        wanted = set(names)
        return {n: v.digest for card in self.described for n, v in card.variants.items() if n in wanted}

    def held(self, names: Iterable[str]) -> list[str]:
        """Return those of the variants whose code is not the one that the state was granted to."""
        granted = self.state.granted
        return [name for name, digest in self.digests(names).items() if granted.get(name) != digest]

    def require_ready(self, name: str) -> None:
        """Raise `NotReady` unless every live worker can answer with the variant, all with one digest."""
        for card in self.cards:
            variant = card.variants.get(name)
            if variant is None:
                raise NotReady(
                    f"{name!r} is missing in worker {card.pid}: its code does not have it; nothing changed"
                )
            if variant.state != "ready":
                why = f": {variant.error}" if variant.error else ""
                raise NotReady(f"{name!r} is {variant.state} in worker {card.pid}{why}; nothing changed")
        digests = {card.variants[name].digest for card in self.cards}
        if len(digests) > 1:
            raise NotReady(
                f"{name!r} is not the same in every live worker (digests {', '.join(sorted(digests))}): "
                "a deployment is under way; nothing changed"
            )

    def ready(self) -> frozenset[str]:
        """Return the variants that answer their keys now: ready in every live worker, and trusted."""
        usable = {name for name in self.known if all(self._answers(card, name) for card in self.cards)}
        return frozenset(usable | {self.state.champion})

    def variants(self) -> dict[str, dict[str, Any]]:
        """Return what the live workers say of each variant, the worst of them: part of ``status --json``."""
        names = dict.fromkeys([*self.known, *sorted(self.state.named)])
        return {name: self._row(name) for name in names}

    def differences(self) -> list[str]:
        """Return in words where the service's spec asks for another state."""
        spec = next((card.spec for card in self.described), None)
        if not spec:
            return []
        return differences(self.state, RolloutSpec.parse(dict(spec), "the service's spec"))

    def _answers(self, card: Card, name: str) -> bool:
        variant = card.variants.get(name)
        if variant is None or variant.state != "ready":
            return False
        trusted = self.state.granted.get(name, variant.digest) == variant.digest
        return trusted or name == self.state.champion

    def _row(self, name: str) -> dict[str, Any]:
        found = [card.variants[name] for card in self.described if name in card.variants]
        if not found or len(found) < len(self.cards):
            error = (
                "the service has no variant of this name"
                if not found
                else "some workers have no such variant"
            )
            return {**asdict(VariantCard("missing", "worker", self.state.granted.get(name, ""), error))}
        worst = min(found, key=lambda variant: _WORST_FIRST.index(variant.state))
        row = (
            asdict(worst)
            if self.cards
            else {**asdict(worst), "state": "unready", "error": "no worker is live"}
        )
        granted = self.state.granted.get(name)
        if granted and granted != worst.digest and name != self.state.champion:
            weight = self.state.weights.get(name, 0) / 1000
            row["held"] = f"new digest, weight {weight:g} held" if weight else "new digest"
        return row


def gainers(before: RolloutState, after: RolloutState) -> list[str]:
    """Return the variants that get traffic, or targets, which they had not."""
    gained = [] if after.champion == before.champion else [after.champion]
    gained += [name for name, milli in after.weights.items() if milli > before.weights.get(name, 0)]
    for name, target in after.targets.items():
        old = before.targets.get(name)
        keys, headers = (
            (set(), set()) if old is None else (set(map(normal_key, old.keys)), set(old.header.items()))
        )
        if set(map(normal_key, target.keys)) - keys or set(target.header.items()) - headers:
            gained.append(name)
    return list(dict.fromkeys(gained))


def undone_rollback(
    history: Sequence[Commit], before: RolloutState, after: RolloutState, spec: RolloutSpec, content: str
) -> Commit | None:
    """Return the rollback that applying a spec would undo, or None.

    A content that was in force before the newest rollback (because it was applied, because the rollout was
    seeded from it, or because it says what was rolled back) must not raise weights again: no script
    re-deploys what a person rolled back.

    Args:
        history: the commits, newest first.
        before, after: the state now, and as the spec would make it.
        spec: what is applied.
        content: names the content that the spec was read from.
    """
    if not any(milli > before.weights.get(name, 0) for name, milli in after.weights.items()):
        return None
    rolled = next((commit for commit in history if commit.action == "rollback"), None)
    if rolled is None:
        return None
    applied = [
        commit.revision for commit in history if commit.action == "apply" and _content(commit) == content
    ]
    if applied:
        return rolled if max(applied) < rolled.revision else None
    asked = {name: milli for name, milli in spec.weights.items() if milli}
    in_force = any(
        {name: milli for name, milli in commit.state.weights.items() if milli} == asked
        for commit in history
        if commit.revision == rolled.parent or commit.action == "seed"
    )
    return rolled if in_force else None


def _content(commit: Commit) -> str | None:
    return commit.state.applied[0] if commit.state.applied else None
