"""A service that its worker can import, and the process beside that cannot: in one of three ways."""

from __future__ import annotations

import os
import sys
from typing import Any

import bentoml

from bento_rollout import RolloutSpec, Variant, rollout
from tests.contract.kinds_beside import Own

HOW = "UNIMPORTABLE"
"""The environment variable that says in which."""

if "bento_rollout.bento.beside" in sys.orig_argv:
    if os.environ[HOW] == "exit":
        os._exit(3)
    if os.environ[HOW] == "kill":
        os.kill(os.getpid(), 9)
    if os.environ[HOW] == "chain":
        try:
            os.environ["NO_WEIGHTS"]
        except KeyError as error:
            raise RuntimeError("no weights\nhere") from error
    raise ImportError("no such wheel")

SERVICE: Any = rollout(
    champion="one",
    candidates={"two": Variant(attributes={"who": "two"}, runner="process")},
    spec=RolloutSpec.parse({"name": "beside-unimportable"}),
)(bentoml.service(name="kinds")(Own))
