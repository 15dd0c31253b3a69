"""Servers that answer PromQL over HTTP: Prometheus, Thanos, Mimir, VictoriaMetrics."""

from prompt_operator.adapters.prometheus.answer import Limits
from prompt_operator.adapters.prometheus.client import CONCURRENCY, PrometheusMetrics

__all__ = ["CONCURRENCY", "Limits", "PrometheusMetrics"]
