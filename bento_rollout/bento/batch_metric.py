"""BentoML's ``adaptive_batch_size``, observed here because each variant has a batcher of its own."""

from __future__ import annotations

from typing import Any

from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.context import server_context
from bentoml._internal.utils.metrics import exponential_buckets

__all__ = ["observe"]

LABELS = ("runner_name", "worker_index", "method_name", "service_version", "service_name")


def observe(service: str, largest: int, endpoint: str, size: int) -> None:
    """Count one batch; never raises.

    Args:
        service: the decorated service's name.
        largest: the largest batch of any of its endpoints, for the buckets.
        endpoint: whose batch it is.
        size: how many requests were merged.
    """
    try:
        if not _made:
            _made.append(_histogram(largest))
        if (histogram := _made[0]) is None:
            return
        labels = {
            "runner_name": service,
            "worker_index": server_context.worker_index,
            "method_name": endpoint,
            "service_version": server_context.bento_version,
            "service_name": server_context.bento_name,
        }
        histogram.labels(**labels).observe(size)
    except Exception:  # noqa: BLE001 - a metric must not cost an answer
        return


_made: list[Any] = []
"""The process's one histogram, once a batch has run: a second of the same name cannot be registered."""


def _histogram(largest: int) -> Any:
    if not BentoMLContainer.api_server_config.metrics.enabled.get():
        return None
    return BentoMLContainer.metrics_client.get().Histogram(
        namespace="bentoml_service",
        name="adaptive_batch_size",
        documentation="Service adaptive batch size",
        labelnames=LABELS,
        buckets=exponential_buckets(1, 2, largest),
    )
