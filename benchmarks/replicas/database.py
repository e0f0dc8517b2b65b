"""The PostgreSQL server of a benchmark: made for it, with the durability that a server has by default."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bento_rollout import open_rollout
from tests.postgres import Server, running

from .topology import Balancer, Replica, balanced, replicas

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AWAY", "NAME", "SERVICE", "Database", "Topology", "served"]

NAME = "replicated"
AWAY = "127.0.0.7"
"""An address of this machine over which one replica alone reaches the database: it can be cut off."""

_SCHEMA = "SELECT nspname FROM pg_namespace WHERE nspname ~ '^rollout_[0-9]+_{}$'"
SERVICE = "benchmarks.replicas.service:Replicated"


class Database:
    """A server with a database that has our tables, until the block ends."""

    def __init__(self, *, durable: bool = True) -> None:
        self._stack, self._durable = ExitStack(), durable
        self.server: Server

    def __enter__(self) -> Self:
        self.server = self._stack.enter_context(running(durable=self._durable))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """Where it is."""
        return self.server.url("made")

    def operator(self) -> Any:
        """Return the rollout as an operator has it."""
        os.environ["BENTO_ROLLOUT_STORE"] = self.url
        return open_rollout(NAME)

    def stop(self, mode: str) -> None:
        """Stop the server; ``immediate`` is as good as a crash."""
        self.server.stop(mode)

    def start(self) -> None:
        """Start it again."""
        self.server.start()

    def rows(self, file: str, query: str) -> list[tuple[object, ...]]:
        """Return what a query over a file's tables finds."""
        ((schema,),) = self.server.run(_SCHEMA.format(file), "made")
        return self.server.run(query.replace("FROM ", f"FROM {schema}."), "made")


@dataclass(frozen=True)
class Topology:
    """What runs: the database, the replicas, and the load balancer before them."""

    database: Database
    members: list[Replica]
    balancer: Balancer


@contextmanager
def served(folder: Path, *, durable: bool = True, count: int = 6) -> Iterator[Topology]:
    """Serve so many replicas until the block ends; the last one reaches the database at `AWAY`."""
    with Database(durable=durable) as database:
        away = database.url.replace("127.0.0.1", AWAY)
        each = {count - 1: {"BENTO_ROLLOUT_STORE": away}}
        with (
            replicas(folder, SERVICE, {"BENTO_ROLLOUT_STORE": database.url}, count, each=each) as members,
            balanced(folder / "balancer", members) as balancer,
        ):
            yield Topology(database, members, balancer)
