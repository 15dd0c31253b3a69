"""Fixtures of the client's tests."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.client.publications import Kubelet

from prompt_client import Client

ClientFactory = Callable[..., Client]


@pytest.fixture
def kubelet(tmp_path: Path) -> Kubelet:
    """A kubelet that mounts ConfigMaps below a temporary root."""
    return Kubelet(tmp_path / "prompts")


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry of its own for each test."""
    return CollectorRegistry()


@pytest.fixture
def make_client(kubelet: Kubelet, registry: CollectorRegistry) -> Iterator[ClientFactory]:
    """A factory of clients on the kubelet's root, closed after the test; without a thread unless asked for."""
    made: list[Client] = []

    def make(**options: Any) -> Client:
        made.append(Client(kubelet.root, **{"reload": "off", "registry": registry, **options}))
        return made[-1]

    yield make
    for client in made:
        client.close()
