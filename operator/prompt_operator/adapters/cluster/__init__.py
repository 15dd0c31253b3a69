"""The API server over plain HTTP."""

from prompt_operator.adapters.cluster.answers import Answer, Ask, failure, shorten
from prompt_operator.adapters.cluster.client import Access, ApiCluster

__all__ = ["Access", "Answer", "ApiCluster", "Ask", "failure", "shorten"]
