"""`People`: who somebody is, by a token or by what a trusted proxy says, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from ..errors import InvalidValue
from ..reviewing import Role
from ..values import shown
from .tokens import Tokens

__all__ = ["REVIEWERS", "TRUSTED", "USER_HEADER", "People", "Person", "Proxies"]

REVIEWERS = "BENTO_ROLLOUT_REVIEW_TOKEN"
USER_HEADER = "BENTO_ROLLOUT_USER_HEADER"
TRUSTED = "BENTO_ROLLOUT_TRUSTED_PROXIES"

MOST_NAME = 100
"""Characters of a name that a proxy gives."""

DEFAULT = frozenset({Role.REVIEWER})
"""What a name may do of which the spec says nothing."""

Roles = Mapping[str, Mapping[str, Sequence[Role]]]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who came in.

    Attributes:
        name: as the token file or the proxy has it; stands in the audit trail.
        admin: whether an operators' token was shown: it holds every role.
        roles: what is held for each automated endpoint; empty: nothing is said, a reviewer of all.

    >>> ada = Person("ada", roles={"read": frozenset({Role.OPERATOR}), "draft": frozenset({Role.REVIEWER})})
    >>> ada.endpoints(Role.REVIEWER), ada.may(Role.OPERATOR, "read"), ada.may(Role.ADJUDICATOR)
    (('draft',), True, False)
    """

    name: str
    admin: bool = False
    roles: Mapping[str, frozenset[Role]] = field(default_factory=dict)

    def at(self, endpoint: str) -> frozenset[Role]:
        """Return the roles that are held for an endpoint.

        >>> sorted(role.value for role in Person("ada").at("read"))
        ['reviewer']
        """
        found = self.roles.get(endpoint, DEFAULT)
        return frozenset(Role) if self.admin or Role.ADMIN in found else found

    def may(self, role: Role, endpoint: str | None = None) -> bool:
        """Whether a role is held for an endpoint; None: for any."""
        if endpoint is not None:
            return role in self.at(endpoint)
        return self.endpoints(role) != ()

    def endpoints(self, role: Role) -> tuple[str, ...] | None:
        """Return for which endpoints a role is held; None: for all there are."""
        if self.admin or (not self.roles and role in DEFAULT):
            return None
        return tuple(endpoint for endpoint in self.roles if role in self.at(endpoint))


class People:
    """Everybody who may come in, and their roles; safe to use from several threads.

    Args:
        admins: the operators' tokens.
        reviewers: the reviewers' tokens, one per person.
        roles: of names by endpoint, as ``automation.ENDPOINT.roles`` of the spec, with every automated
            endpoint; a name without entry is a reviewer there.
        proxies: which header names the person behind a proxy, and which proxies are believed.
    """

    def __init__(
        self, admins: Tokens, reviewers: Tokens, roles: Roles | None = None, proxies: Proxies | None = None
    ) -> None:
        self._admins, self._reviewers = admins, reviewers
        self._roles = roles or {}
        self.proxies = proxies or Proxies()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], roles: Roles | None = None) -> People:
        """Return those whom the environment names: tokens, token files, and the header of a trusted proxy.

        Raises:
            InvalidValue: ``BENTO_ROLLOUT_TRUSTED_PROXIES`` holds something else than addresses and networks.
        """
        reviewers = Tokens.from_environment(environ, REVIEWERS, name="reviewer")
        return cls(Tokens.from_environment(environ), reviewers, roles, Proxies.from_environment(environ))

    @property
    def problem(self) -> str | None:
        """What is wrong with a token file now; None: nothing. Holds no token."""
        return self._admins.problem or self._reviewers.problem

    @property
    def is_open(self) -> bool:
        """Whether anybody at all could come in."""
        return bool(self.names) or self.proxies.is_used

    @property
    def names(self) -> tuple[str, ...]:
        """The names that have a token, each once: two approvals need two of them."""
        return tuple(dict.fromkeys((*self._admins.names, *self._reviewers.names)))

    def holders(self, role: Role, endpoint: str) -> tuple[str, ...]:
        """Return the names that hold a role for an endpoint: of operators, and those in the spec."""
        named = self._roles.get(endpoint, {})
        told = (name for name, roles in named.items() if {role, Role.ADMIN} & set(roles))
        return tuple(dict.fromkeys((*self._admins.names, *told)))

    def by_token(self, token: bytes) -> Person | None:
        """Return whose token this is; every known one is compared, each in constant time."""
        admin, reviewer = self._admins.name_of(token), self._reviewers.name_of(token)
        if self.problem is not None:  # which of two files is broken makes no difference: nobody comes in
            return None
        name = admin or reviewer
        return None if name is None else self._person(name, admin=admin is not None)

    def mark_of(self, token: bytes) -> str:
        """Return what a session remembers of a token."""
        return self._admins.mark_of(token)

    def by_mark(self, mark: str) -> Person | None:
        """Return whose token has this mark: a session ends when its token is taken away."""
        if self.problem is not None:
            return None
        admin, reviewer = self._admins.marked(mark), self._reviewers.marked(mark)
        name = admin or reviewer
        return None if name is None else self._person(name, admin=admin is not None)

    def by_proxy(self, scope: Mapping[str, Any]) -> Person | None:
        """Return whom a trusted proxy says the caller is; None: it says nothing, or it is not trusted.

        Such a person never is an admin by the name alone: only by a role that the spec gives.
        """
        name = self.proxies.user(scope)
        return None if name is None else self._person(name, admin=False)

    def _person(self, name: str, *, admin: bool) -> Person:
        roles = {endpoint: frozenset(named.get(name, DEFAULT)) for endpoint, named in self._roles.items()}
        return Person(name, admin, roles)


class Proxies:
    """What is believed of the proxies before the service.

    Args:
        header: the header in which a proxy names the person, like ``X-Forwarded-User``; empty: none does.
        trusted: addresses and networks of the proxies that are believed; loopback addresses count as one.
        rewriting: whose ``X-Forwarded-For`` the HTTP server itself believes (uvicorn: those that
            ``FORWARDED_ALLOW_IPS`` names, else this machine): it shows their word as the caller's address.

    Raises:
        InvalidValue: a text that is no address and no network.

    >>> proxies = Proxies("X-User", ["10.0.0.0/24"])
    >>> scope = {"client": ("10.0.0.7", 4711), "headers": [(b"x-user", b"ada")]}
    >>> proxies.user(scope), proxies.user({**scope, "client": ("10.0.1.7", 4711)})
    ('ada', None)
    """

    def __init__(
        self, header: str = "", trusted: Sequence[str] = (), rewriting: Sequence[str] = ("127.0.0.1", "::1")
    ) -> None:
        self._header = header.strip().lower().encode("ascii", "replace")
        self._networks = []
        for text in trusted:
            try:
                self._networks.append(ip_network(text.strip(), strict=False))
            except ValueError:
                raise InvalidValue(
                    f"{TRUSTED} holds {shown(text)}: write addresses and networks with commas between them, "
                    "like 10.0.0.7,10.1.0.0/16"
                ) from None
        self._covers_rewriting = all(self._trusts(host) for host in rewriting)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Proxies:
        """Return what the environment says."""
        trusted = [part for part in environ.get(TRUSTED, "").split(",") if part.strip()]
        told = environ.get("FORWARDED_ALLOW_IPS")
        rewriting = ["127.0.0.1", "::1"] if told is None else [part.strip() for part in told.split(",")]
        return cls(environ.get(USER_HEADER, ""), trusted, [part for part in rewriting if part])

    @property
    def is_used(self) -> bool:
        """Whether anybody can come in by a proxy's word."""
        return bool(self._header and self._networks)

    def user(self, scope: Mapping[str, Any]) -> str | None:
        """Return whom a trusted proxy names; None without one, or when it names nobody or two."""
        if not self.is_used or not self.is_trusted(scope):
            return None
        found = [value for name, value in scope["headers"] if name.lower() == self._header]
        if len(found) != 1:
            return None
        name = found[0].decode("utf-8", "replace").strip()
        return name if name and len(name) <= MOST_NAME and name.isprintable() else None

    def is_trusted(self, scope: Mapping[str, Any]) -> bool:
        """Whether the connection surely comes from a trusted proxy.

        With an ``X-Forwarded-For`` the server may show that header's word as the caller's address (with port
        0). That is taken only where everyone whom the server believes is a trusted proxy here, too.
        """
        client = scope.get("client")
        if not client:
            return False
        host, port = client
        forwarded = any(name.lower() == b"x-forwarded-for" for name, _ in scope["headers"])
        if not forwarded:
            return self._trusts(host)
        return self._covers_rewriting and (port == 0 or self._trusts(host))

    def _trusts(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        if address.is_loopback and any(network.network_address.is_loopback for network in self._networks):
            return True
        return any(address in network for network in self._networks if network.version == address.version)
