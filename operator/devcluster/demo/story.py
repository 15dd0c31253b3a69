"""What happens, in order: each scene does something with kubectl or waits for something to be seen."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from devcluster.cluster import Cluster
from devcluster.demo.observer import Observer, Sight
from devcluster.demo.pace import NORMAL, Pace
from devcluster.demo.stage import NAMESPACE, Stage
from devcluster.errors import DevError
from devcluster.paths import REPO

SAMPLES = REPO / "manifests" / "samples" / "support-bot"
OLD, BAD, GOOD = "1.0.0", "1.1.0", "1.1.1"
THRESHOLD = 0.05  # of the rule, as policy.yaml has it
_PATIENCE = 60.0  # seconds for what takes one or two
_WINDOW = 60.0  # seconds; the rule's window


@dataclass(frozen=True)
class Scene:
    """Something that happened: seconds since the beginning, and what."""

    at: float
    text: str
    kind: str = "done"  # done | command | alarm


@dataclass
class Story:
    """The run so far; the screen reads it while it goes on."""

    good: bool
    pace: Pace
    began: float = field(default_factory=time.time)
    scenes: list[Scene] = field(default_factory=list)
    doing: str = ""
    observer: Observer | None = None
    before: float = 0.0  # error rate of 1.0.0 before the release
    released_at: float = 0.0
    components: dict[str, str] = field(default_factory=dict)
    policy: str = ""  # the times of the policy, as the API server has them

    @property
    def new(self) -> str:
        """The version that is released."""
        return GOOD if self.good else BAD

    @property
    def sight(self) -> Sight:
        """Everything seen so far."""
        return self.observer.sight if self.observer else Sight()

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.time() - self.began

    def note(self, text: str, kind: str = "done") -> None:
        """Keep a scene."""
        self.scenes.append(Scene(self.elapsed, text, kind))


def play(story: Story, stage: Stage) -> None:
    """Run the whole story; every scene waits for what it promises.

    Raises:
        InterruptedByUser: somebody asked for the end.
        DevError: something promised did not happen.
    """
    stage.open(story.pace.tick)
    story.components = _components(stage)
    story.note("API server, Prometheus, operator and application run")
    observer = story.observer = Observer(stage.cluster, stage.metrics, stage.bot_state)
    observer.start()
    try:
        _serve_old(story, stage)
        _release(story, stage)
        if story.good:
            _watch_good(story, stage)
        else:
            _watch_bad(story, stage)
    finally:
        observer.stop()


def _serve_old(story: Story, stage: Stage) -> None:
    story.doing = "kubectl applies the policy and version 1.0.0"
    for name in ("namespace", "policy", f"version-{OLD}", "prompt"):
        _apply(stage.cluster, SAMPLES / f"{name}.yaml", story.pace)
    story.policy = _policy(stage.cluster, story.pace)
    story.note("kubectl apply --server-side: namespace, policy, version 1.0.0, prompt", "command")
    stage.wait(lambda: story.sight.serves(OLD), _PATIENCE, f"version {OLD} in the application's replies")
    story.note(f"the application serves {OLD}, as mounted")
    story.doing = f"{OLD} answers customers for {story.pace.steady} seconds"
    steady = time.time() + story.pace.steady
    stage.wait(lambda: time.time() >= steady and story.sight.error_rate is not None, _WINDOW * 2, "an error rate")
    story.before = _rate(story.sight)
    if story.before > THRESHOLD:
        raise DevError(f"Version {OLD} already fails ({story.before:.1%}): nothing can be shown by releasing another.")


def _release(story: Story, stage: Stage) -> None:
    file = SAMPLES / f"version-{story.new}.yaml"
    _apply(stage.cluster, file, story.pace)
    prompt = yaml.safe_load((SAMPLES / "prompt.yaml").read_text("utf-8"))
    prompt["spec"]["version"] = story.new
    story.released_at = time.time()
    stage.cluster.kubectl("apply", "--server-side", "--filename=-", input=yaml.safe_dump(prompt))
    story.note(f"kubectl apply --server-side: {file.stem}, prompt with version: {story.new}", "command")
    stage.wait(lambda: _projected(story.sight, story.new), _PATIENCE, f"version {story.new} in the ConfigMap")
    stage.wait(lambda: story.sight.serves(story.new), _PATIENCE, f"version {story.new} in the application's replies")
    story.note(f"the ConfigMap changed; the application serves {story.new}")


def _watch_bad(story: Story, stage: Stage) -> None:
    until = _until(story, stage)
    story.doing = "the application's parser rejects answers; Prometheus sees it"
    until(lambda now: _rate(now) > THRESHOLD, _WINDOW, "an error rate beyond 5 %")
    story.note(f"error rate {_rate(story.sight):.1%}, beyond 5 %", "alarm")
    story.doing = "nothing is judged within initialDelay; then the rule has to hold for its time"
    until(lambda now: _was(now, "Pending", "Firing"), story.pace.initial_delay + _PATIENCE, "the rule Pending")
    story.note("rule critical-error-rate: Pending", "alarm")
    until(lambda now: _was(now, "Firing"), story.pace.hold + _PATIENCE, "the rule Firing")
    story.note("rule critical-error-rate: Firing", "alarm")
    story.doing = "the guards are asked"
    until(lambda now: now.active == OLD, _PATIENCE, "the rollback")
    story.note(f"rolled back from {story.new} to {OLD} by the operator")
    until(lambda now: _projected(now, OLD), _PATIENCE, f"the ConfigMap with {OLD}")
    story.note("the ConfigMap switched")
    until(lambda now: now.serves(OLD), _PATIENCE, f"{OLD} in the application's replies")
    story.note(f"the application serves {OLD} again")
    _watch_recovery(story, stage)


def _watch_recovery(story: Story, stage: Stage) -> None:
    until = _until(story, stage)
    story.doing = "bad answers leave the window of a minute; recoveryWindow runs"
    limit = _WINDOW + story.pace.recovery_window + _PATIENCE
    until(lambda now: _outcome(now) is not None, limit, "a verdict on the recovery")
    if _outcome(story.sight) != "Recovered":
        raise DevError(f"The operator judged the rollback {_outcome(story.sight)}: {_message(story.sight)}")
    story.note("PromptRollback: Recovered")
    until(lambda now: now.serves(OLD) and _is_back(now, story.before), limit, "the error rate of before")
    story.note(f"error rate {_rate(story.sight):.1%} again")
    story.doing = ""


def _watch_good(story: Story, stage: Stage) -> None:
    seconds = story.pace.initial_delay + story.pace.hold + _WINDOW
    story.doing = f"{story.new} is watched for {seconds:.0f} seconds: initialDelay, the rule's `for` and its window"
    stage.wait(lambda: story.sight.active == story.new, _PATIENCE, f"{story.new} in the Prompt's status")
    until = time.time() + seconds

    def quiet() -> bool:
        now = story.sight
        if now.active != story.new or _was(now, "Firing"):
            raise DevError(f"The good {story.new} was not left alone: {now.active} is active, the rule was {now.rule}.")
        return time.time() >= until and now.serves(story.new)

    stage.wait(quiet, seconds + _PATIENCE, f"{story.new} in the application's replies")
    story.note(f"no rollback: {story.new} still serves, error rate {_rate(story.sight):.1%}")
    story.doing = ""


def _apply(cluster: Cluster, file: Path, pace: Pace) -> None:
    """Apply a sample as it stands; only the policy gets the times of a faster pace."""
    if file.name == "policy.yaml" and pace != NORMAL:
        policy = pace.applied_to(yaml.safe_load(file.read_text("utf-8")))
        cluster.kubectl("apply", "--server-side", "--filename=-", input=yaml.safe_dump(policy))
    else:
        cluster.kubectl("apply", "--server-side", "--filename", str(file))


def _until(story: Story, stage: Stage) -> Callable[[Callable[[Sight], object], float, str], None]:
    return lambda condition, seconds, what: stage.wait(lambda: condition(story.sight), seconds, what)


def _projected(now: Sight, version: str) -> bool:
    return now.projection is not None and now.projection.version == version


def _was(now: Sight, *states: str) -> bool:
    return any(change.state in states for change in now.rule_changes)


def _rate(now: Sight) -> float:
    return now.error_rate or 0.0


def _is_back(now: Sight, before: float) -> bool:
    return now.error_rate is not None and now.error_rate <= before


def _outcome(now: Sight) -> str | None:
    outcome: str | None = (now.record.get("status") or {}).get("outcome")
    return outcome


def _message(now: Sight) -> str:
    return str((now.record.get("status") or {}).get("message", "without a message"))


def _components(stage: Stage) -> dict[str, str]:
    """The versions, as the programs themselves tell them."""
    versions = json.loads(stage.cluster.kubectl("version", "--output=json").stdout)
    return {
        "kube-apiserver": versions["serverVersion"]["gitVersion"],
        "kubectl": versions["clientVersion"]["gitVersion"],
        "prometheus": stage.metrics.version(),
    }


def _policy(cluster: Cluster, pace: Pace) -> str:
    """The policy in one line, as the API server has it."""
    found = cluster.kubectl("get", "promptpolicy", "support", f"--namespace={NAMESPACE}", "--output=json")
    spec = json.loads(found.stdout)["spec"]
    rule, rollback = spec["rules"][0], spec["rollback"]
    return (
        f"{rule['condition']} in {rule['window']} for {rule['for']} · initialDelay {rollback['initialDelay']}"
        f" · recoveryWindow {rollback['recoveryWindow']} · tick {pace.tick}s"
    )
