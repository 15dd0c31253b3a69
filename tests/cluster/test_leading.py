"""One operator at a time, by a Lease: with the real program and the real API server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from tests.cluster.program import DEADLINE, Program, until

from prompt_operator.adapters.credentials import load
from prompt_operator.adapters.lease import Election, Terms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.cluster.conftest import Kubectl

    from devcluster.controlplane import ControlPlane

SHORT = Terms(duration=3, renew_within=2, retry=1)
CALM = Terms(duration=8, renew_within=7, retry=1)
"""A holder keeps it also where a renewal takes seconds."""
LEASE = "prompt-operator"
VERSION = """
apiVersion: promptops.dev/v1alpha1
kind: PromptVersion
metadata: {name: greeting-%(v)s}
spec: {promptRef: {name: greeting}, version: "%(v)s", text: "%(v)s: greet {{ name }}."}
---
apiVersion: promptops.dev/v1alpha1
kind: Prompt
metadata: {name: greeting}
spec: {version: "%(v)s"}
"""


def candidate(plane: ControlPlane, namespace: str, identity: str, terms: Terms = SHORT) -> Election:
    """Return a candidate for the Lease of the test's namespace."""
    access = load(str(plane.kubeconfig))
    return Election(access.configuration, namespace, LEASE, identity, monotonic=time.monotonic, terms=terms)


@pytest.fixture
def two(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[tuple[Program, Program]]:
    """Two operators for one Lease, both ready; the first one leads."""
    arguments = ("--namespace", namespace, "--lease", f"{namespace}/{LEASE}", "--metrics-auth", "None")
    folders = tmp_path / "first", tmp_path / "second"
    for folder in folders:
        folder.mkdir()
    with Program(folders[0], control_plane.kubeconfig, arguments) as first:
        until(lambda: leads(first), bool)
        with Program(folders[1], control_plane.kubeconfig, arguments) as second:
            second.until("/readyz", 200)
            yield first, second


def leads(program: Program) -> bool:
    """Tell whether an operator says that it leads."""
    status, body = program.get("/diagnostics")
    return status == 200 and bool(json.loads(body)["leading"])


def served(kubectl: Kubectl) -> str:
    """Return the version in the ConfigMap."""
    return kubectl("get", "configmaps", "prompt-greeting", "--ignore-not-found", "--output=jsonpath={.data.version}")


def lease(kubectl: Kubectl, field: str) -> str:
    """Return a field of the Lease's spec, empty without it."""
    return kubectl("get", "lease", LEASE, f"--output=jsonpath={{.spec.{field}}}")


def release(kubectl: Kubectl, version: str) -> None:
    """Apply a version and make it the desired one."""
    kubectl("apply", "--server-side", "--filename=-", stdin=VERSION % {"v": version})


def test_the_leader_is_killed_and_the_other_takes_over(two: tuple[Program, Program], kubectl: Kubectl) -> None:
    """One decides while the other watches; after SIGKILL the other does the work that came meanwhile.

    That takes the Lease's term and two retries, which stay under twenty seconds, and on a slow machine what it needs.
    """
    first, second = two
    release(kubectl, "1.0.0")
    until(lambda: served(kubectl), lambda version: version == "1.0.0")
    assert (leads(first), leads(second)) == (True, False)
    assert "prompt_operator_leader 0.0" in second.get("/metrics")[1]
    assert first.process is not None
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    usual = Terms()
    assert usual.duration + 2 * usual.retry < 20
    assert lease(kubectl, "leaseDurationSeconds") == f"{usual.duration}"
    release(kubectl, "2.0.0")
    until(lambda: served(kubectl), lambda version: version == "2.0.0")
    assert leads(second)


def test_an_orderly_end_gives_the_lease_back(two: tuple[Program, Program], kubectl: Kubectl) -> None:
    """A rolling update hands over at the next retry instead of at the end of the Lease's term."""
    first, second = two
    holder = lease(kubectl, "holderIdentity")
    assert first.end() == 0
    assert lease(kubectl, "holderIdentity") != holder
    until(lambda: leads(second), bool)
    release(kubectl, "1.0.0")
    until(lambda: served(kubectl), lambda version: version == "1.0.0")


def test_a_leader_whose_lease_was_taken_ends(two: tuple[Program, Program], kubectl: Kubectl) -> None:
    """Somebody else holds it, renewed without end: the leader stops within its term, with status 1, in a sentence."""
    first, _ = two
    assert first.process is not None
    taken = {"spec": {"holderIdentity": "somebody-else", "leaseDurationSeconds": 3600}}
    kubectl("patch", "lease", LEASE, "--type=merge", f"--patch={json.dumps(taken)}")
    assert first.process.wait(DEADLINE) == 1
    last = first.log.read_text().strip().splitlines()[-1]
    assert "could not be renewed in time: another operator takes over" in last


@contextlib.asynccontextmanager
async def passing_on(host: str) -> AsyncIterator[tuple[str, Callable[[], Awaitable[None]]]]:
    """Stand before the API server; yield the address to use and what cuts every connection for good."""
    target, writers = urlsplit(host), []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(target.hostname, target.port)
        writers.extend([writer, there[1]])
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    async def cut() -> None:
        server.close()
        for writer in writers:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    yield f"{target.scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}", cut
    await cut()


def tries(one: Election) -> asyncio.Semaphore:
    """Return what is released each time this candidate has tried to take or to renew the Lease."""
    done, untold = asyncio.Semaphore(0), one._step

    async def step() -> bool:
        held = await untold()
        done.release()
        return held

    setattr(one, "_step", step)  # noqa: B010  a method
    return done


async def test_only_one_of_two_candidates_holds_it(control_plane: ControlPlane, namespace: str) -> None:
    """The second waits for as long as the first renews, and gets it when the first gives it back."""
    first, second = (candidate(control_plane, namespace, each, CALM) for each in ("a", "b"))
    try:
        await asyncio.wait_for(first.acquire(), DEADLINE)
        keeping = asyncio.create_task(first.keep())
        waiting = asyncio.create_task(second.acquire())
        done, _ = await asyncio.wait({keeping, waiting}, timeout=CALM.duration + 2 * CALM.retry)
        assert not done
        keeping.cancel()
        await first.release()
        await asyncio.wait_for(waiting, DEADLINE)
    finally:
        await second.release()


async def test_without_an_api_server_the_holder_gives_up_in_time(
    control_plane: ControlPlane, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody answers any more: it stops before another one may take the Lease, and says so once."""
    access = load(str(control_plane.kubeconfig))
    async with passing_on(access.configuration.host) as (host, cut):
        access.configuration.host, access.configuration.refresh_api_key_hook = host, None  # the hook sets the host anew
        holder = Election(access.configuration, namespace, LEASE, "a", monotonic=time.monotonic, terms=SHORT)
        await asyncio.wait_for(holder.acquire(), DEADLINE)
        await cut()
    tried = tries(holder)
    await asyncio.wait_for(holder.keep(), DEADLINE)
    assert tried._value <= SHORT.renew_within // SHORT.retry < SHORT.duration  # each a retry's time after the other
    await holder.release()
    said = [record.message for record in caplog.records if "cannot be read or written" in record.message]
    assert len(said) == 1


async def test_a_candidate_that_may_not_read_the_lease_says_why(
    control_plane: ControlPlane, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the right it stands by for ever; the log names Lease and refusal, once."""
    access = load(str(control_plane.kubeconfig_for("alice")))
    stranger = Election(access.configuration, namespace, LEASE, "a", monotonic=time.monotonic, terms=SHORT)
    tried = tries(stranger)
    standing_by = asyncio.create_task(stranger.acquire())
    for _ in range(3):
        await asyncio.wait_for(tried.acquire(), DEADLINE)
    standing_by.cancel()
    await stranger.release()
    said = [record.message for record in caplog.records if "cannot be read or written" in record.message]
    assert said == [f"Lease {namespace}/{LEASE} cannot be read or written, trying again: 403 Forbidden"]
