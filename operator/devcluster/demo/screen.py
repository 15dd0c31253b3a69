"""One screen while the story goes on; in a pipe, a line for each thing that happens."""

import sys
import threading
from collections.abc import Iterator

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from devcluster.demo.observer import RULE, Sight
from devcluster.demo.story import THRESHOLD, Scene, Story

_EVERY = 0.25  # seconds between two drawings
_BARS = " ▁▂▃▄▅▆▇█"
_FULL = 0.4  # the error rate at which the curve reaches the top
_UPPER = 14  # lines above the scenes
_ICONS = {"done": ("✓", "green"), "command": ("$", "bold cyan"), "alarm": ("!", "bold red")}
_STATES = {"Normal": "green", "Pending": "bold yellow", "Firing": "bold red", "Recovering": "yellow"}


def show(story: Story, worker: threading.Thread, *, plain: bool) -> None:
    """Show the story until its thread ends."""
    if plain:
        _tell(story, worker)
        return
    console = Console()
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while worker.is_alive():
            live.update(drawn(story, console.height), refresh=True)
            worker.join(_EVERY)
        live.update(drawn(story, console.height), refresh=True)


def drawn(story: Story, height: int) -> Group:
    """Return the screen as it is now, at most `height` lines."""
    now = story.sight
    sides = Table.grid(expand=True)
    sides.add_column(ratio=1)
    sides.add_column(ratio=1)
    sides.add_row(_panel("Application", _application(now)), _panel("Prometheus", _prometheus(now)))
    return Group(_head(story), sides, _panel("API server", _api_server(now)), _scenes(story, height - _UPPER - 1))


def _tell(story: Story, worker: threading.Thread) -> None:
    """Write each scene once, and what is being done whenever that changes."""
    doing = ""
    told = 0
    while worker.is_alive() or told < len(story.scenes):
        for scene in story.scenes[told:]:
            _line(scene)
            told += 1
        if story.doing and story.doing != doing:
            doing = story.doing
            _line(Scene(story.elapsed, f"… {doing}"))
        worker.join(_EVERY)


def _line(scene: Scene) -> None:
    sys.stdout.write(f"{scene.at:6.1f} s  {scene.text}\n")
    sys.stdout.flush()


def _head(story: Story) -> Group:
    versions = " · ".join(f"{name} {version}" for name, version in story.components.items())
    minutes, seconds = divmod(int(story.elapsed), 60)
    head = Text.assemble((f" {minutes}:{seconds:02d} ", "reverse"), (" prompt-operator demo  ", "bold"), versions)
    return Group(_one_line(head), _one_line(Text(f" {story.policy or '…'}", style="dim")))


def _panel(title: str, rows: Iterator[Text]) -> Panel:
    return Panel(Group(*map(_one_line, rows)), title=title, title_align="left", padding=(0, 1))


def _one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _application(now: Sight) -> Iterator[Text]:
    version = now.application.get("version")
    if version is None:
        yield from (Text("nothing is mounted yet", style="dim"), Text(), Text(), Text())
        return
    tally = now.application["versions"].get(version, {"asked": 0, "rejected": 0})
    last = now.application.get("last") or {"question": "", "answer": "", "problem": ""}
    agrees = now.projection is not None and now.projection.hash == now.application["hash"]
    yield Text.assemble(
        "serves ",
        (version, "bold"),
        f" {_short(now.application['hash'])} ",
        ("= ConfigMap" if agrees else "", "green"),
    )
    yield Text.assemble(f"answers {tally['asked']:,}, unusable ", (f"{tally['rejected']:,}", _red(tally["rejected"])))
    yield Text(f"“{last['question']}”", style="dim")
    icon = ("✗ ", "bold red") if last["problem"] else ("✓ ", "green")
    yield Text.assemble(icon, (last["answer"], "dim"))


def _prometheus(now: Sight) -> Iterator[Text]:
    rate = now.error_rate
    style = _red(int((rate or 0) > THRESHOLD))
    yield Text.assemble("error rate, 1m  ", ("no data yet" if rate is None else f"{rate:6.1%}", style))
    rows = [f"{version} {share:6.1%}" for version, share in sorted(now.by_version.items())]
    yield Text("of it  " + "   ".join(rows) if rows else "", style="dim")
    upper, lower = _curve(now.curve)
    yield Text(upper, style="red")
    yield Text(lower, style="red")


def _curve(rates: tuple[float | None, ...]) -> tuple[str, str]:
    """Two lines of bars, a column for two seconds, the newest on the right."""
    columns = [rate or 0.0 for rate in rates[::-4]][:34][::-1]
    steps = len(_BARS) - 1
    heights = [min(round(rate / _FULL * 2 * steps + (0.4 if rate else 0)), 2 * steps) for rate in columns]
    return "".join(_BARS[max(h - steps, 0)] for h in heights), "".join(_BARS[min(h, steps)] for h in heights)


def _api_server(now: Sight) -> Iterator[Text]:
    spec, ready = now.prompt.get("spec", {}), now.condition("Ready")
    healthy = now.condition("Healthy")
    wanted, good = spec.get("version", "-"), ready.get("status") == "True"
    yield Text.assemble(
        f"Prompt    wants {wanted}, active ",
        (now.active or "-", "bold" if now.active == wanted else "bold yellow"),
        "  Ready ",
        (f"{ready.get('status', '-')} {ready.get('reason', '')}", "green" if good else "yellow"),
        f"  Healthy {healthy.get('status', '-')}",
    )
    states = [(change.state, _STATES.get(change.state, "dim")) for change in now.rule_changes[-6:]]
    chain = [part for state in states for part in (" → ", state)][1:]
    yield Text.assemble(f"Rule      {RULE}  ", *chain)
    shown = now.projection
    text = f"{shown.version}  {_short(shown.hash)}  revision {shown.revision}" if shown else "-"
    yield Text(f"ConfigMap {text}")
    spec = now.record.get("spec", {})
    outcome = (now.record.get("status") or {}).get("outcome") or "watched"
    text = f"{spec['fromVersion']} → {spec['toVersion']}, {outcome}: {spec['reason']}" if spec else "none"
    yield Text(f"Rollback  {text}")


def _scenes(story: Story, room: int) -> Group:
    """The scenes that fit, and what is being done; the newest are kept."""
    lines = [_scene(scene) for scene in story.scenes]
    if story.doing:
        lines.append(Text(f"         … {story.doing}", style="italic dim"))
    return Group(*map(_one_line, lines[-max(room, 3) :]))


def _scene(scene: Scene) -> Text:
    icon, style = _ICONS[scene.kind]
    return Text.assemble((f"{scene.at:6.1f} s ", "dim"), (f"{icon} ", style), scene.text)


def _short(content_hash: str) -> str:
    return content_hash.removeprefix("sha256:")[:8] + "…"


def _red(count: int) -> str:
    return "bold red" if count else "green"
