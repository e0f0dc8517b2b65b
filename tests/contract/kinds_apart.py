"""Services whose candidate is a service of its own; at module level: its workers import them."""

from __future__ import annotations

from typing import Any

import bentoml

from bento_rollout import Variant
from tests.contract.kinds import Kinds, KindsInContext
from tests.contract.kinds_beside import GUARDED, Own, beside


def apart(cls: type, name: str) -> Variant:
    """Return a class as a candidate in a service of its own."""
    return Variant(bentoml.service(name=name)(cls), runner="service", twin=True)


PLAIN: Any = beside(Kinds, "apart-plain", apart(Kinds, "plain_two"))
CONTEXT: Any = beside(KindsInContext, "apart-context", apart(KindsInContext, "context_two"))
OWN: Any = beside(Own, "apart-own", Variant(attributes={"who": "two"}, runner="service"))
OWN_GUARDED: Any = beside(
    Own, "apart-guarded", Variant(attributes={"who": "two"}, runner="service"), **GUARDED
)
