"""What every test with a real server needs."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_replica() -> object:
    """Let operators in this process change the store, wherever the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTO_ROLLOUT_SINGLE_REPLICA", "1")
        patch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        yield
