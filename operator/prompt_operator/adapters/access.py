"""Who may read metrics and diagnostics: the API server decides, as it does for controller-runtime's metrics."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from prompt_operator.ports import GiveUp, Kind, Retry

if TYPE_CHECKING:
    from prompt_operator.ports import Clock, Cluster

_TOKEN_REVIEW = Kind("authentication.k8s.io/v1", "TokenReview", "tokenreviews")
_ACCESS_REVIEW = Kind("authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews")
_REMEMBERED = 60.0
_MOST = 256


class Reviewer:
    """Ask TokenReview who it is and SubjectAccessReview whether that user may `get` the path; answers last a minute."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster, self._clock = cluster, clock
        self._known: dict[tuple[str, str], tuple[float, int]] = {}

    async def allow(self, authorization: str, path: str) -> int:
        """Return 200, 401 (no or no valid token), 403 (the user may not), or 503 (the API server did not answer)."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            return 401
        key, now = (hashlib.sha256(token.encode()).hexdigest(), path), self._clock.monotonic()
        until, known = self._known.get(key, (0.0, 0))
        if now < until:
            return known
        try:
            answer = await self._ask(token, path)
        except (Retry, GiveUp):
            return 503
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[key] = (now + _REMEMBERED, answer)
        return answer

    async def _ask(self, token: str, path: str) -> int:
        review = await self._review(_TOKEN_REVIEW, {"token": token})
        if not review.get("authenticated"):
            return 401
        user = review.get("user") or {}
        subject = {
            "user": user.get("username", ""),
            "groups": user.get("groups") or [],
            "extra": user.get("extra") or {},
            "uid": user.get("uid", ""),
            "nonResourceAttributes": {"path": path, "verb": "get"},
        }
        return 200 if (await self._review(_ACCESS_REVIEW, subject)).get("allowed") else 403

    async def _review(self, kind: Kind, spec: dict[str, Any]) -> dict[str, Any]:
        body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {}, "spec": spec}
        answer = await self._cluster.create(kind, body)
        return (answer or {}).get("status") or {}
