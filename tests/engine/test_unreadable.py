"""Objects that another release wrote: what can be read of them counts, the rest is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.core.builders import V1, V2, a_record_manifest, a_version_manifest
from tests.engine.fake_time import play
from tests.engine.world import World

from prompt_operator.engine.store import Name
from prompt_operator.ports import PROMPT_ROLLBACK, PROMPT_VERSION

if TYPE_CHECKING:
    import pytest


def test_a_record_holds_though_its_evidence_cannot_be_read() -> None:
    """One measurement under a name that this release does not know does not lift a hold."""

    async def story(world: World) -> None:
        good = {"metric": "error_rate", "at": "2026-11-21T08:00:00Z"}
        unknown = {"metric": "Error-Rate", "at": "2026-11-21T08:00:00Z"}
        async with world.running() as engine:
            engine.observe(PROMPT_ROLLBACK, a_record_manifest(evidence=[unknown, good]))
            (record,) = engine.store.rollbacks_of(Name("shop", "greeting"))
            assert record.executed
            assert [each.metric for each in record.evidence] == ["error_rate"]
            world.add_versions(V1, V2)
            world.want(V2)
            await world.rest()
            assert world.served() == V1

    play(story(World()))


def test_what_cannot_be_read_at_all_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """It is named in the log; the sweep that met it, and so the start, goes on with the next object."""

    async def story(world: World) -> None:
        strange = a_version_manifest("0.1.0")
        del strange["spec"]["promptRef"]
        world.cluster.put(PROMPT_VERSION, strange)
        world.add_versions(V1)
        async with world.running() as engine:
            await engine.sweep(PROMPT_VERSION)
            world.want(V1)
            await world.rest()
            assert world.served() == V1

    play(story(World()))
    assert "PromptVersion shop/greeting-0.1.0 was written under other CRDs" in caplog.text
