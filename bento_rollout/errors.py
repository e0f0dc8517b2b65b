"""Every error that the library raises on purpose.

::

    RolloutError                     exit 1   HTTP 409
    ├── InvalidValue                 exit 2   HTTP 400   a value that cannot be (also a ValueError)
    │   ├── InvalidSpec              a spec field, with its place in the file
    │   ├── InvalidKey               a routing key that cannot be hashed
    │   └── UnknownVariant           a name that no variant of this rollout has
    ├── Incompatible                 exit 2   a candidate whose endpoints differ from the champion's
    ├── NotFound                     exit 3   HTTP 404   no such rollout or revision
    ├── Refused                      exit 1   HTTP 409   legal, but not now: the reason says why
    │   ├── Conflict                 somebody else committed first; carries the current revision
    │   ├── AlarmLatched             exit 7   harm was shown, and no reason is given to go on
    │   ├── Vetoed                   a ``before_flip`` hook said no
    │   ├── FlipTimeout              a live worker did not answer in time
    │   ├── NotReady                 the variant cannot answer in every live worker
    │   ├── NotDurable               the store binds one pod of unknown many
    │   ├── Governed                 a file is the whole state: whoever wants to change it changes the file
    │   └── QueueFull                as many cases wait for people as may
    ├── StoreUnreachable             exit 4   HTTP 503   the store cannot be read or written
    │   └── StoreCorrupt             it can be read, and it is not ours or is damaged
    └── ArtifactError                exit 1   HTTP 409   a sealed artifact that is not opened or not written
        ├── ArtifactNotFound         exit 3   HTTP 404   no such artifact, or no such file in it
        ├── SignatureInvalid         exit 10  no pinned key signed it, or not in the one form that is read
        ├── KeyUnavailable           exit 11  no identity at hand opens its data key
        ├── ArtifactCorrupt          exit 12  what is stored is not what was sealed
        └── PolicyViolated           exit 13  the trust policy does not allow it, or there is no policy

    Veto                             what a hook raises to stop a flip: the user's word, no RolloutError
"""

from __future__ import annotations

__all__ = [
    "AlarmLatched",
    "ArtifactCorrupt",
    "ArtifactError",
    "ArtifactNotFound",
    "Conflict",
    "FlipTimeout",
    "Governed",
    "Incompatible",
    "InvalidKey",
    "InvalidSpec",
    "InvalidValue",
    "KeyUnavailable",
    "NotDurable",
    "NotFound",
    "NotReady",
    "PolicyViolated",
    "QueueFull",
    "Refused",
    "RolloutError",
    "SignatureInvalid",
    "StoreCorrupt",
    "StoreUnreachable",
    "UnknownVariant",
    "Veto",
    "Vetoed",
]


class RolloutError(Exception):
    """The root of the tree; ``exit_code`` and ``http_status`` say how the doors report it."""

    exit_code = 1
    http_status = 409


class InvalidValue(RolloutError, ValueError):
    """A value that cannot be; the state is untouched."""

    exit_code = 2
    http_status = 400


class InvalidSpec(InvalidValue):
    """A spec that is not valid; the message names the field and the value."""


class InvalidKey(InvalidValue):
    """A routing key that is empty, too long, not text, or not a finite number."""


class UnknownVariant(InvalidValue):
    """A name that no variant of this rollout has; the message lists those that it has."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        self.name = name
        self.known = known
        super().__init__(f"no variant is called {name!r}; this rollout has: {', '.join(known) or 'none'}")

    def __reduce__(self) -> tuple[type[UnknownVariant], tuple[str, tuple[str, ...]]]:
        return type(self), (self.name, self.known)


class Incompatible(RolloutError, TypeError):
    """A candidate that cannot stand in for the champion; the message names endpoint and difference."""

    exit_code = 2
    http_status = 400


class NotFound(RolloutError, LookupError):
    """No such rollout, or no such revision."""

    exit_code = 3
    http_status = 404


class Refused(RolloutError):
    """A legal request that is not possible now; nothing changed."""


class Conflict(Refused):
    """Somebody else committed first.

    Args:
        message: what collided.
        current: the revision that is current now.
    """

    def __init__(self, message: str, current: int) -> None:
        self.current = current
        super().__init__(message)

    def __reduce__(self) -> tuple[type[Conflict], tuple[str, int]]:
        return type(self), (str(self), self.current)


class AlarmLatched(Refused):
    """Harm was shown, and going on all the same needs a reason; the message names the guardrails."""

    exit_code = 7


class Vetoed(Refused):
    """A ``before_flip`` hook said no; the message holds its reason."""


class FlipTimeout(Refused):
    """A live worker did not acknowledge the flip in time; the message names its pid."""


class NotReady(Refused):
    """The variant is not ready in every live worker; the message says where and why."""


class NotDurable(Refused):
    """The store would bind one pod of unknown many; changes are refused."""


class Governed(Refused):
    """The rollout's spec says ``authority: spec``: its file is the state, and no verb changes that."""


class QueueFull(Refused):
    """As many cases of an endpoint wait for people as may; nothing was kept of this one.

    Args:
        endpoint: whose.
        open: how many are open.
        most: how many may be.
    """

    def __init__(self, endpoint: str, open: int, most: int) -> None:  # noqa: A002 - as its readers ask for it
        self.endpoint = endpoint
        self.open = open
        self.most = most
        super().__init__(
            f"{open} cases of {endpoint} wait for people, and at most {most} may: try again later"
        )

    def __reduce__(self) -> tuple[type[QueueFull], tuple[str, int, int]]:
        return type(self), (self.endpoint, self.open, self.most)


class StoreUnreachable(RolloutError):
    """The store cannot be read or written; serving goes on with the last good state."""

    exit_code = 4
    http_status = 503


class StoreCorrupt(StoreUnreachable):
    """The store is damaged, cut short, or holds another history; it is never recreated silently."""


class ArtifactError(RolloutError):
    """A sealed artifact that cannot be opened or written; no plaintext was handed out."""


class ArtifactNotFound(ArtifactError, LookupError):
    """No such artifact, or no such file in it."""

    exit_code = 3
    http_status = 404


class SignatureInvalid(ArtifactError):
    """No pinned key signed the artifact, or not in the one form that is read."""

    exit_code = 10


class KeyUnavailable(ArtifactError):
    """No identity at hand opens the artifact's data key."""

    exit_code = 11


class ArtifactCorrupt(ArtifactError):
    """What is stored is not what was sealed: cut short, edited, swapped, or opened with another key."""

    exit_code = 12


class PolicyViolated(ArtifactError):
    """The trust policy does not allow the artifact, or there is no policy."""

    exit_code = 13


class Veto(Exception):
    """Raise it in a ``before_flip`` hook to stop the flip.

    >>> raise Veto("accuracy on the smoke set is 0.71, below 0.9")
    Traceback (most recent call last):
    ...
    bento_rollout.errors.Veto: accuracy on the smoke set is 0.71, below 0.9
    """
