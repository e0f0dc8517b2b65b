"""`Binding`: the address at which operators are served apart from the service's callers."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import InvalidValue
from ..values import shown

__all__ = ["ADMIN_BIND", "Binding"]

ADMIN_BIND = "BENTO_ROLLOUT_ADMIN_BIND"

_FORM = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%a-z]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")
_MOST_PORT = 65_535
_BACKLOG = 128


@dataclass(frozen=True, slots=True)
class Binding:
    """A host of this machine and a port.

    Attributes:
        host: a name or an address, without brackets.
        port: from 1.

    >>> print(Binding.from_environment({"BENTO_ROLLOUT_ADMIN_BIND": "[::1]:3999"}))
    [::1]:3999
    """

    host: str
    port: int

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Binding | None:
        """Return what ``BENTO_ROLLOUT_ADMIN_BIND`` says; None: operators are served with everybody else.

        Raises:
            InvalidValue: it is no HOST:PORT.
        """
        text = environ.get(ADMIN_BIND, "").strip()
        if not text:
            return None
        found = _FORM.fullmatch(text)
        if found is None or not 0 < int(found["port"]) <= _MOST_PORT:
            raise InvalidValue(
                f"{ADMIN_BIND}={shown(text)} is not HOST:PORT: write it like 127.0.0.1:3999 or [::1]:3999, "
                "and 0.0.0.0:3999 for every address of this machine"
            )
        return cls(found["six"] or found["host"], int(found["port"]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def listening(self) -> socket.socket:
        """Return a socket that listens there.

        Raises:
            OSError: the port is taken, or this machine has no such address.
        """
        family, _, _, _, address = socket.getaddrinfo(
            self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, socket.SOCK_STREAM)
        try:
            found.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # a restart need not wait for old ones
            if family == socket.AF_INET6:
                found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            found.bind(address)
            found.listen(_BACKLOG)
        except OSError:
            found.close()
            raise
        return found
