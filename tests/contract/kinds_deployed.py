"""Services that are deployed by themselves, for candidates at a URL."""

from __future__ import annotations

import bentoml

from tests.contract.kinds import Kinds, KindsInContext
from tests.contract.kinds_apart import Apart

PLAIN = bentoml.service(name="plain")(Kinds)
CONTEXT = bentoml.service(name="context")(KindsInContext)


@bentoml.service(name="own")
class OWN(Apart):
    """The candidate."""

    who = "two"
