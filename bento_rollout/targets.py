"""Targets: keys, and requests with a header, that get a variant before the split; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from .errors import InvalidValue
from .keys import normal_key
from .values import Strict

__all__ = ["MAX_TARGET_KEYS", "Target", "aimed", "check_apart", "released", "retargeted"]

MAX_TARGET_KEYS = 10_000
"""How many keys a variant may have by name; whoever needs more needs a header, or a weight."""


class Target(Strict):
    """Who gets a variant before the split: these keys, and requests that carry one of these headers.

    Attributes:
        keys: normal keys, each once.
        header: the value that a header must have, by its name in lower case.
    """

    keys: tuple[Annotated[str, BeforeValidator(normal_key)], ...] = ()
    header: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _normal(self) -> Target:
        object.__setattr__(self, "keys", tuple(dict.fromkeys(self.keys)))
        object.__setattr__(self, "header", {name.lower(): value for name, value in self.header.items()})
        if len(self.keys) > MAX_TARGET_KEYS:
            raise InvalidValue(
                f"{len(self.keys)} target keys are too many: at most {MAX_TARGET_KEYS} are kept; "
                "use a header, or a weight"
            )
        return self

    def __bool__(self) -> bool:
        return bool(self.keys or self.header)


def check_apart(targets: Mapping[str, Target]) -> Mapping[str, Target]:
    """Return targets, or raise `InvalidValue` when one key or header is to get two variants."""
    owners: dict[str, str] = {}
    for variant, target in targets.items():
        for what in _told(target):
            if owners.setdefault(what, variant) != variant:
                raise InvalidValue(f"{what} is to get both {owners[what]!r} and {variant!r}")
    return targets


def retargeted(
    targets: Mapping[str, Target],
    variant: str,
    keys: Sequence[object],
    header: Mapping[str, str],
    *,
    remove: bool,
) -> dict[str, Target]:
    """Return targets after a person gave a variant keys and headers, or took them back.

    Raises:
        InvalidValue: when nothing is named, a key cannot be hashed, or there are too many.
    """
    texts = [normal_key(key) for key in keys]
    named = {name.lower(): value for name, value in header.items()}
    if not texts and not named:
        raise InvalidValue("name at least one key (--key K) or one header (--header NAME=VALUE)")
    try:
        return (released if remove else aimed)(targets, variant, texts, named)
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InvalidValue(f"targets of {variant!r}: {problem}") from None


def aimed(
    targets: Mapping[str, Target], variant: str, keys: Collection[str], header: Mapping[str, str]
) -> dict[str, Target]:
    """Return targets in which a variant gets these keys and headers, whoever had them."""
    after = {name: _less(target, keys, header) for name, target in targets.items()}
    old = targets.get(variant, Target())
    after[variant] = Target(keys=(*old.keys, *keys), header={**old.header, **header})
    return {name: target for name, target in after.items() if target}


def released(
    targets: Mapping[str, Target], variant: str, keys: Collection[str], header: Mapping[str, str]
) -> dict[str, Target]:
    """Return targets in which a variant has these keys and headers no more; other variants keep theirs."""
    after = {**targets, variant: _less(targets.get(variant, Target()), keys, header)}
    return {name: target for name, target in after.items() if target}


def _less(target: Target, keys: Collection[str], header: Mapping[str, str]) -> Target:
    gone = frozenset(keys)
    rest = {name: value for name, value in target.header.items() if header.get(name) != value}
    return Target(keys=tuple(key for key in target.keys if key not in gone), header=rest)


def _told(target: Target) -> Iterator[str]:
    yield from (f"key {key!r}" for key in target.keys)
    yield from (f"header {name}: {value}" for name, value in target.header.items())
