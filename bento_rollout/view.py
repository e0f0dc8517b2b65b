"""What is known about the service around a state: its live workers, its variants, and who gains traffic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from .applying import degrees_differ, differences, strategy_differs
from .assignment import normal_key
from .degree_report import degree_rows
from .errors import InvalidValue, NotReady
from .granting import grant_command, retire_command
from .ladder import Ladder
from .manner import Manner
from .mixing import by_code, waits_for
from .spec import RolloutSpec
from .state import Commit, RolloutState
from .store.presence import Card, Silent, VariantCard
from .strategy import Strategy
from .values import FULL

__all__ = ["ROLLBACKS", "View", "gainers", "undone_rollback"]

ROLLBACKS = ("rollback", "abort")
"""What sends all traffic back, by a person or by evidence, and is not taken back by applying a file again."""

_WORST_FIRST = ("missing", "failed", "unready", "starting", "ready")


@dataclass(frozen=True)
class View:
    """A state, and the service around it as its workers describe themselves.

    Attributes:
        cards: of the workers that are alive now.
        last: the newest card that any worker ever wrote; what the service is like when none is alive.
        state: the state that is looked at.
        silent: the workers that have lost their connection to the store.
    """

    cards: tuple[Card, ...]
    last: Card | None
    state: RolloutState
    silent: tuple[Silent, ...] = ()

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

    @property
    def strategy(self) -> Strategy | None:
        """How the service's spec says that its candidate is tried; None: it does not, or nobody said yet.

        Raises:
            NotReady: live workers have different ones.
        """
        found = [card.spec.get("strategy") for card in self.described]
        if any(one != found[0] for one in found):
            raise NotReady(
                "the strategy is not the same in every live worker: a deployment is under way; "
                "nothing changed"
            )
        plain = found[0] if found else None
        return None if plain is None else Strategy.parse(plain, "the strategy of the service's spec")

    @property
    def ladders(self) -> dict[str, Ladder]:
        """What the service's spec says about degrees of automation, by endpoint; empty: nothing.

        Raises:
            NotReady: live workers have different ones.
        """
        return {endpoint: Ladder.parse(one) for endpoint, one in self._automated().items()}

    @property
    def manners(self) -> dict[str, Manner]:
        """How people are asked, by endpoint; empty: no worker says so.

        Raises:
            NotReady: live workers have different ones.
        """
        told = self._automated().items()
        return {endpoint: Manner.parse(one["asking"]) for endpoint, one in told if "asking" in one}

    def _automated(self) -> dict[str, Any]:
        found = [card.spec.get("automation", {}) for card in self.described]
        if any(one != found[0] for one in found):
            raise NotReady(
                "what the spec says of automation is not the same in every live worker: a deployment is "
                "under way; nothing changed"
            )
        return found[0] if found else {}

    def degrees(self) -> dict[str, dict[str, Any]]:
        """Return how each automated endpoint stands: part of ``status --json``."""
        ladders: dict[str, Ladder] = {}
        with suppress(NotReady, InvalidValue):  # a deployment is under way: the state alone is told
            ladders = self.ladders
        return degree_rows(self.state, ladders)

    def digests(self, names: Iterable[str]) -> dict[str, str]:
        """Return the digests of those of the variants that the service has, all its workers the same."""
        found = {name: self._found(name) for name in names}
        return {name: next(iter(digests)) for name, digests in found.items() if len(digests) == 1}

    def held(self, names: Iterable[str]) -> list[str]:
        """Return those of the variants whose code is not everywhere what the state was granted to."""
        granted = self.state.granted
        return [name for name in names if self._found(name) - {granted.get(name)}]

    def gainers(self, after: RolloutState) -> list[str]:
        """Return who gets traffic or targets in a state that follows this one: they must be ready."""
        now, then = self.state.granted, after.granted
        weighted = {name for name, milli in after.weights.items() if milli}
        freed = [n for n, digest in self.digests(weighted).items() if now.get(n) != digest == then.get(n)]
        return list(dict.fromkeys([*gainers(self.state, after), *freed]))

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
        return frozenset(n for n in {*self.known, self.state.champion} if self._obstacle(n) is None)

    def served(self) -> dict[str, float]:
        """Return how much each variant truly answers, in percent.

        The champion has what the others cannot; when it cannot answer itself, who stands in for it has that.
        """
        weights = {name: milli for name, milli in self.state.weights.items() if milli}
        answering = {name: milli for name, milli in weights.items() if self._obstacle(name) is None}
        rest = FULL - sum(answering.values())
        heir = self._heir()
        shares = {heir: rest, **{name: milli for name, milli in answering.items() if name != heir}}
        shares[heir] += answering.get(heir, 0)
        return {name: milli / 1000 for name, milli in shares.items()}

    def _heir(self) -> str:
        """Return who answers for the champion: itself, or the newest of its forerunners that can."""
        order = (self.state.champion, *self.state.compile().backups)
        return next((name for name in order if self._obstacle(name) is None), self.state.champion)

    def idle(self) -> dict[str, dict[str, Any]]:
        """Return who has weight or targets and does not answer: how much, why, and what a person may do."""
        found: dict[str, dict[str, Any]] = {}
        state = self.state
        shares = {**state.weights, state.champion: FULL - sum(state.weights.values())}
        for name in dict.fromkeys((state.champion, *state.weights, *state.targets)):
            milli, obstacle = shares.get(name, 0), self._obstacle(name)
            if obstacle is not None and (milli or name in state.targets):
                word, why, command = obstacle
                found[name] = {"percent": milli / 1000, "state": word, "why": why, "command": command}
        return found

    def variants(self) -> dict[str, dict[str, Any]]:
        """Return what the live workers say of each variant, the worst of them: part of ``status --json``."""
        names = dict.fromkeys([*self.known, *sorted(self.state.named)])
        return {name: self._row(name) for name in names}

    @property
    def codes(self) -> dict[str, list[str]]:
        """Which live workers run which code."""
        return by_code((card.code, card.words) for card in self.cards)

    def mixed(self, code: str) -> str:
        """Return how many workers run other code than this one, in words; empty: none."""
        return waits_for(code, self.codes)

    def differences(self) -> list[str]:
        """Return in words where the service's spec asks for another state."""
        spec = dict(next((card.spec for card in self.described), {}))
        for name in ("strategy", "automation"):  # what they are checked against is not on the card
            spec.pop(name, None)
        found = differences(self.state, RolloutSpec.parse(spec, "the service's spec"))
        with suppress(NotReady):  # a deployment is under way: it differs from worker to worker
            found += strategy_differs(self.state, self.strategy)
        with suppress(NotReady, InvalidValue):
            found += degrees_differ(self.state, self.ladders)
        return found

    def _found(self, name: str) -> set[str]:
        """Return the digests of a variant in the service's workers."""
        return {card.variants[name].digest for card in self.described if name in card.variants}

    def _obstacle(self, name: str) -> tuple[str, str, str | None] | None:
        """Return why a variant does not answer everywhere: a word, a sentence, a command; None: it does.

        While nobody lives only what is known of the code counts. A champion serves whatever its code is.
        """
        state, found = self.state, self._found(name)
        milli = state.weights.get(name, 0)
        champion = name == state.champion
        if self.described and not found and not champion:
            command = retire_command(state.name, name, state.champion, milli)
            return (
                "missing",
                f"the service does not have it: bring it back, or take it out with {command}",
                command,
            )
        for card in self.cards:
            variant = card.variants.get(name)
            if variant is None:
                return "missing", f"it is not in the code of worker {card.pid}", None
            if variant.state != "ready":
                way = f"bento-rollout rollback {state.name}" if champion else None
                return variant.state, self._where(name, variant.error or "a worker says so"), way
        granted = state.granted.get(name)
        if granted is not None and found - {granted} and not champion:
            command = grant_command(state.name, name, milli)
            return "held", f"new digest: grant it with {command}", command
        return None

    def _where(self, name: str, why: str) -> str:
        """Return why a variant does not answer, and in how many of the workers when it is not in all."""
        cards = [card.variants.get(name) for card in self.cards]
        bad = sum(1 for variant in cards if variant is not None and variant.state != "ready")
        return why if bad == len(cards) else f"{why}, in {bad} of {len(cards)} workers"

    def _row(self, name: str) -> dict[str, Any]:
        found = [card.variants[name] for card in self.described if name in card.variants]
        if not found or len(found) < len(self.cards):
            error = (
                "the service has no variant of this name"
                if not found
                else "some workers have no such variant"
            )
            if not self.described:  # none was ever started, or the store cannot be read
                error = "no worker is seen that could say whether the service has it"
            row = asdict(VariantCard("missing", "worker", self.state.granted.get(name, ""), error))
            row.pop("process")
            return row
        worst = min(found, key=lambda variant: _WORST_FIRST.index(variant.state))
        row = (
            asdict(worst)
            if self.cards
            else {**asdict(worst), "state": "unready", "error": "no worker is live"}
        )
        row.pop("process")
        processes = ((card.pid, card.variants[name].process) for card in self.cards)
        if told := [{"worker": pid, **process} for pid, process in processes if process is not None]:
            row["processes"] = told
        granted, milli = self.state.granted.get(name), self.state.weights.get(name, 0)
        if granted and self._found(name) - {granted} and name != self.state.champion:
            kept = f", weight {milli / 1000:g} held" if milli else ""
            row["held"] = f"new digest{kept or (', targets held' if name in self.state.targets else '')}"
            row["grant"] = grant_command(self.state.name, name, milli)
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
    history: Iterable[Commit], before: RolloutState, after: RolloutState, spec: RolloutSpec, content: str
) -> Commit | None:
    """Return the rollback that applying a spec would undo, or None.

    A content that was in force before the newest rollback (because it was applied, because the rollout was
    seeded from it, or because it says what was rolled back) must not raise weights again: no script
    re-deploys what a person rolled back.

    Args:
        history: the commits, newest first; read only as far as the answer needs.
        before, after: the state now, and as the spec would make it.
        spec: what is applied.
        content: names the content that the spec was read from.
    """
    if not any(milli > before.weights.get(name, 0) for name, milli in after.weights.items()):
        return None
    asked = {name: milli for name, milli in spec.weights.items() if milli}
    commits = iter(history)
    rolled = _newest_rollback(commits, content)
    if rolled is None:
        return None
    in_force = (
        _applied(commit, content)
        or (
            (commit.revision == rolled.parent or commit.action == "seed")
            and {name: milli for name, milli in commit.state.weights.items() if milli} == asked
        )
        for commit in commits
    )
    return rolled if any(in_force) else None


def _newest_rollback(commits: Iterator[Commit], content: str) -> Commit | None:
    """Return the newest rollback, unless the content was applied after it."""
    for commit in commits:
        if _applied(commit, content):
            return None
        if commit.action in ROLLBACKS:
            return commit
    return None


def _applied(commit: Commit, content: str) -> bool:
    return (
        commit.action == "apply" and commit.state.applied is not None and commit.state.applied[0] == content
    )
