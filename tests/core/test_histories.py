"""Random histories of one prompt, with crashes between any two effects: what must hold whatever happens."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.core.builders import V1, V2, V3, a_reading, a_record_manifest, a_version_manifest, hash_of, readings
from tests.core.world import CONFIG_MAP, World

from prompt_operator.api.common import Measurement, rfc3339
from prompt_operator.core import versions
from prompt_operator.core.baseline import reference
from prompt_operator.core.plan import ApplyConfigMap, CreateRecord, WriteStatus
from prompt_operator.core.rules.streak import State

if TYPE_CHECKING:
    from prompt_operator.api.promptstatus import PromptStatus
    from prompt_operator.core.plan import Effect

COOLDOWN, DAY, PER_DAY = timedelta(minutes=15), timedelta(hours=24), 3
ANY_VERSION = st.sampled_from((V1, V2, V3))


@dataclass
class Ledger:
    """What the test itself remembers; the operator's memory is only what stands in the world."""

    switched: dict[str, tuple[datetime, bool]] = field(default_factory=dict)
    """Decision id -> when, and whether a rule decided it."""
    held: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    """Decision id -> the version it rejected, and when."""
    rejected: set[tuple[str, datetime]] = field(default_factory=set)
    """Each version that was rolled back, and when it ended so."""

    def versions(self) -> set[str]:
        """Return what must not become active."""
        return {version for version, _ in self.held.values()}


@dataclass
class Watched(World):
    """A world that checks each write as it is made."""

    ledger: Ledger = field(default_factory=Ledger)

    def perform(self, effect: Effect) -> None:
        """Check what an effect does before it is done."""
        if isinstance(effect, WriteStatus):
            self._check_status(effect)
        if isinstance(effect, ApplyConfigMap):
            assert effect.manifest["metadata"]["name"] == self.wanted_name()
            self._check_content(effect.manifest["data"].get("version", ""))
        if isinstance(effect, CreateRecord):
            name = effect.manifest["metadata"]["name"]
            executed = effect.manifest["spec"]["decision"] == "Executed"
            assert not executed or name in self.ledger.switched, "a record of something that was not decided"
        super().perform(effect)

    def _check_content(self, version: str) -> None:
        if version and version != self.status.get("activeVersion"):
            found = versions.record_of(self.versions[version])
            assert found.problem() is None, "projects a version that must not be served"

    def _check_status(self, effect: WriteStatus) -> None:
        status = effect.status
        decision, before = status.decision, self.status.get("decision") or {}
        if decision is not None and decision.id != before.get("id") and decision.id not in self.ledger.switched:
            self._check_decision(decision)
        if status.active_version and status.active_version != self.status.get("activeVersion"):
            self._check_activation(status.active_version)
            decided = decision is not None and decision.id != before.get("id")
            self._check_cause(status.active_version, decided=decided)
        self._check_baseline(status)

    def _check_decision(self, decision: Any) -> None:
        ledger, automatic = self.ledger, decision.kind == "Rollback"
        times = [at for at, _ in ledger.switched.values()]
        if automatic:
            assert all(decision.at - at >= COOLDOWN for at in times), "two rollbacks within the cooldown"
            today = sum(by_rule and decision.at - at < DAY for at, by_rule in ledger.switched.values())
            assert today < PER_DAY, "more automatic rollbacks than a day allows"
            assert not self._waits(), "decides although a person is asked for"
        assert decision.from_version == self.status["activeVersion"]
        ledger.switched[decision.id] = (decision.at, automatic)
        ledger.held[decision.id] = (decision.from_version, decision.at)
        ledger.rejected.add((decision.from_version, decision.at))

    def _waits(self) -> bool:
        """Tell whether the daily limit was reached and nobody acknowledged anything since the beginning.

        A person may delete records that are released: with fewer than the limit before it, a refusal asks for nobody.
        """
        specs = [record["spec"] for record in self.records.values()]
        refused = [spec["decidedAt"] for spec in specs if spec.get("guard") == "DailyLimitReached"]
        reached = any(self._decided_before(datetime.fromisoformat(each)) >= PER_DAY for each in refused)
        return reached and not any("acknowledge" in spec for spec in specs)

    def _decided_before(self, instant: datetime) -> int:
        return sum(by_rule and instant - DAY < at <= instant for at, by_rule in self.ledger.switched.values())

    def _check_activation(self, version: str) -> None:
        found = versions.record_of(self.versions[version])
        assert found.stage != "Draft", "activates a draft"
        assert found.verified(), "activates content that is not the one first seen"
        assert version not in self.ledger.versions(), "activates a rejected version"

    def _check_cause(self, version: str, *, decided: bool) -> None:
        """Nothing moves without a wish, a decision, or a hold on what is wished."""
        desired = self.spec["version"]
        known = self.status.get("activeVersion")
        assert decided or not known or version == desired or desired in self.ledger.versions(), "moved without a cause"

    def _check_baseline(self, status: PromptStatus) -> None:
        """What a version is compared with was never measured on one that is rejected, nor up to a rejection."""
        served = {(entry.version, entry.at) for entry in status.history}
        for version, at in ((each.version or "", each.at) for each in status.baseline):
            assert version not in self.ledger.versions(), "compares with a rejected version"
            assert (version, at) not in self.ledger.rejected, "compares with the time that a rollback ended"
            assert at in {instant for _, instant in served}, "measured up to an instant at which nothing was replaced"


def made(version: str, *, seen: bool = True) -> dict[str, Any]:
    """Return a version; the later ones name the first as where to go back to."""
    back: dict[str, Any] = {"rollback": {"reference": V1}} if version != V1 else {}
    return a_version_manifest(version, seen=seen, **back)


class Histories(RuleBasedStateMachine):
    """People, Git, a fleet that fails, a process that crashes and a clock; the operator looks now and then."""

    @initialize()
    def start(self) -> None:
        """Three versions exist, the first one is wanted."""
        self.world = Watched(versions={name: made(name) for name in (V1, V2, V3)})
        self.requests = 0

    # --- the operator

    @rule()
    def look(self) -> None:
        """One whole look."""
        self.world.step()

    @rule(effects=st.integers(0, 5))
    def crash(self, effects: int) -> None:
        """A look that ends after so many effects; what was in memory is gone."""
        self.world.step(crash_after=effects)
        self.world.readings, self.world.normal = None, ()

    @rule()
    def settle(self) -> None:
        """Left alone, the operator comes to rest, and then the ConfigMap says what status says."""
        self.world.settle(most=8 + self.requests)  # one request is answered per look
        status = self.world.status
        served = self.world.config_maps.get(self.world.wanted_name())
        active = status.get("activeVersion")
        if served is not None and active in self._good() and not self.world.spec.get("suspend"):
            assert served["data"]["version"] == status["activeVersion"]
            assert served["data"]["hash"] == status["activeHash"]
        for decision in self.world.ledger.switched:
            assert decision in self.world.records, "a decision without a record"

    def _good(self) -> set[str]:
        """Return the versions that exist with the content they were made with."""
        found = map(versions.record_of, self.world.versions.values())
        return {each.version for each in found if each.content_hash == hash_of(each.version)}

    # --- people and Git

    @rule(version=ANY_VERSION)
    def git(self, version: str) -> None:
        """Git names a version."""
        self.world.want(version)

    @rule(suspend=st.booleans())
    def suspend(self, suspend: bool) -> None:  # noqa: FBT001  drawn by name
        """A person suspends or resumes."""
        self.world.spec = self.world.spec | {"suspend": suspend}
        self.world.generation += 1

    @rule(from_=ANY_VERSION, to=st.sampled_from(("", V1, V2, V3)))
    def request(self, from_: str, to: str) -> None:
        """A person asks for a rollback, perhaps of a version that is not active any more."""
        self.requests += 1
        name = f"request-{self.requests}"
        manifest = a_record_manifest(name, from_=from_, at=self.world.now, trigger="Manual", requestedBy="ada")
        for member in ("decision", "decidedAt", "contentHash", "toVersion"):
            del manifest["spec"][member]
        if to not in ("", from_):
            manifest["spec"]["toVersion"] = to
        self.world.records[name] = manifest

    @precondition(lambda self: self.world.executed())
    @rule(number=st.integers(0, 9))
    def release(self, number: int) -> None:
        """A person lifts one hold."""
        record = self._executed(number)
        record["spec"]["release"] = {"by": "ada", "reason": "fixed"}
        record["metadata"]["generation"] += 1
        self.world.ledger.held.pop(record["metadata"]["name"], None)

    def _executed(self, number: int) -> dict[str, Any]:
        found = self.world.executed()
        return found[number % len(found)]

    @precondition(lambda self: self.world.executed())
    @rule(number=st.integers(0, 9))
    def acknowledge(self, number: int) -> None:
        """A person takes note of a rollback: it counts to the day's limit no longer."""
        record = self._executed(number)
        record["spec"]["acknowledge"] = {"by": "ada", "reason": "seen"}
        name = record["metadata"]["name"]
        at, _ = self.world.ledger.switched[name]
        self.world.ledger.switched[name] = (at, False)

    @precondition(lambda self: self.world.executed())
    @rule(number=st.integers(0, 9))
    def tidy_up(self, number: int) -> None:
        """A person deletes a record whose release was seen; what it said of spacing goes with it."""
        self.world.settle(most=8 + self.requests)
        name = self._executed(number)["metadata"]["name"]
        holding = {each["record"] for each in self.world.status.get("held", ())}
        if "release" in self.world.records[name]["spec"] and name not in holding:
            del self.world.records[name]
            del self.world.ledger.switched[name]

    @rule(mode=st.sampled_from(("Active", "Active", "Fallback")))
    def fallback(self, mode: str) -> None:
        """A person switches Fallback on or off."""
        self.world.spec = self.world.spec | {"mode": mode}
        self.world.generation += 1

    @rule(name=st.sampled_from(("prompt-greeting", "prompt-greeting", "elsewhere")))
    def deliver(self, name: str) -> None:
        """The ConfigMap gets another name."""
        self.world.spec = self.world.spec | {"delivery": {"configMapName": name}}
        self.world.generation += 1

    @rule()
    def retry(self) -> None:
        """A person lifts every hold that is older than now."""
        self.world.annotations["promptops.dev/retryAt"] = rfc3339(self.world.now)
        held = self.world.ledger.held
        for name in [name for name, (_, since) in held.items() if since < self.world.now]:
            del held[name]

    @rule()
    def forget_retry(self) -> None:
        """A tool that owns the annotations removes the one of the retry."""
        self.world.annotations.pop("promptops.dev/retryAt", None)

    # --- the fleet

    @rule(fired=st.booleans(), minutes=st.integers(0, 3))
    def measure(self, fired: bool, minutes: int) -> None:  # noqa: FBT001  drawn by name
        """The rule clock judges what is active."""
        active = self.world.status.get("activeVersion")
        if not active:
            return
        self.world.pass_(minutes=minutes)
        state, errors = (State.FIRING, 100) if fired else (State.NORMAL, 0)
        activated = self.world.prompt().status.activated_at
        reading = a_reading(state=state, errors=errors, at=self.world.now)
        self.world.readings = readings(reading, version=active, activated_at=activated)

    @rule()
    def measure_baseline(self) -> None:
        """What is asked for now is measured; the answer may be taken in at once, or after all has changed."""
        of = reference(self.world.prompt().status)
        if of is not None:
            answer = Measurement(metric="latency_p95", value="2", window="1h", version=of.version, at=of.until)
            self.world.normal = (*self.world.normal[-3:], answer)

    @rule(version=ANY_VERSION, effects=st.integers(0, 6), minutes=st.sampled_from((3, 16, 600)))
    def release_that_fails(self, version: str, effects: int, minutes: int) -> None:
        """A release is taken up, then its rules fire; the look that decides may end anywhere."""
        self.git(version)
        self.world.settle(most=8 + self.requests)
        self.world.pass_(minutes=minutes)
        self.measure(fired=True, minutes=0)
        self.world.step(crash_after=effects)

    @rule(minutes=st.lists(st.sampled_from((3, 10, 16, 200)), min_size=2, max_size=5))
    def bad_day(self, minutes: list[int]) -> None:
        """One release after the other fails; between them people release every hold, and nothing else is wrong."""
        for number, wait in enumerate(minutes):
            for version in (V1, V2, V3):
                self.world.versions[version] = made(version)
            self.world.settle(most=8 + self.requests)
            for record in self.world.executed():
                record["spec"]["release"] = {"by": "ada", "reason": "fixed"}
            self.world.ledger.held.clear()
            self.world.spec = {"version": V1}
            self.world.settle(most=8 + self.requests)
            self.release_that_fails((V2, V3)[number % 2], effects=9, minutes=wait)

    @rule(hours=st.sampled_from((1, 25, 49)))
    def nobody_looks(self, hours: float) -> None:
        """The daily limit is reached; later the next release fails, too."""
        self.bad_day([16, 16, 16, 16])
        self.time(hours)
        self.bad_day([16])

    # --- what happens to a cluster

    @rule(how=st.sampled_from(("edit", "key", "delete", "immutable", "label")))
    def tamper(self, how: str) -> None:
        """Somebody writes the ConfigMap, or deletes it."""
        found = self.world.config_maps.get(CONFIG_MAP)
        if found is None:
            return
        found["metadata"]["resourceVersion"] = self.world.serial()
        match how:
            case "edit":
                found["data"]["prompt.txt"] = "Say what I want."
            case "key":
                found["data"]["mine"] = "too"
            case "delete":
                del self.world.config_maps[CONFIG_MAP]
                self.world.applied.pop(CONFIG_MAP, None)
            case "immutable":
                found["immutable"] = True
            case "label":
                found["metadata"]["annotations"]["promptops.dev/version"] = "9.9.9"

    @rule()
    def lose_status(self) -> None:
        """A restore without the status subresource; what was not recorded yet is forgotten with it."""
        self.world.status = {}
        for name in [name for name in self.world.ledger.switched if name not in self.world.records]:
            del self.world.ledger.switched[name]
            self.world.ledger.held.pop(name, None)

    @rule(version=ANY_VERSION, good=st.booleans())
    def rewrite(self, version: str, good: bool) -> None:  # noqa: FBT001  drawn by name
        """The content of a version changes past admission, or is put back; the hash first seen stays in its status."""
        if version in self.world.versions:
            self.world.versions[version]["spec"] = made(version)["spec"] | ({} if good else {"text": "Ha."})

    @rule(version=ANY_VERSION)
    def delete(self, version: str) -> None:
        """A version is deleted, be it the active one."""
        self.world.versions.pop(version, None)

    @rule(version=ANY_VERSION)
    def restore(self, version: str) -> None:
        """It is created again, with the same content and no status."""
        self.world.versions.setdefault(version, made(version, seen=False))

    @rule(hours=st.sampled_from((0.01, 0.1, 0.3, 5, 23, 25)))
    def time(self, hours: float) -> None:
        """Time goes by."""
        self.world.pass_(seconds=round(hours * 3600))

    @rule(minutes=st.sampled_from((1, 20, 1500)))
    def set_back(self, minutes: int) -> None:
        """The node's clock is set back: what was decided lies in the future now."""
        self.world.pass_(minutes=-minutes)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=100,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
