"""BentoML's ``adaptive_batch_size``, which it cannot observe itself where each variant has a batcher of its own."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.context import server_context
from bentoml._internal.utils.metrics import exponential_buckets

__all__ = ["observe"]

LABELS = ("runner_name", "worker_index", "method_name", "service_version", "service_name")
LARGEST = 1024


def observe(service: str, endpoint: str, size: int) -> None:
    """Count one batch; never raises."""
    try:
        if (histogram := _histogram()) is not None:
            histogram.labels(runner_name=service, worker_index=server_context.worker_index, method_name=endpoint,
                             service_version=server_context.bento_version, service_name=server_context.bento_name).observe(size)
    except Exception:  # noqa: BLE001 - a metric must not cost an answer
        return


@lru_cache(maxsize=1)
def _histogram() -> Any:
    if not BentoMLContainer.api_server_config.metrics.enabled.get():
        return None
    return BentoMLContainer.metrics_client.get().Histogram(
        namespace="bentoml_service", name="adaptive_batch_size", documentation="Service adaptive batch size",
        labelnames=LABELS, buckets=exponential_buckets(1, 2, LARGEST))
