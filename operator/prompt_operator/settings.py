"""All settings of the operator, declared once: flags, environment, YAML file and `--help` follow from the fields here.

Precedence: flag, then environment, then file, then default.
"""

from __future__ import annotations

import difflib
import logging
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

import click
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from prompt_operator.core import strictyaml
from prompt_operator.core.mode import Mode
from prompt_operator.ports import DEFAULT_SOURCE
from prompt_operator.sources import Duration, Header, Source, checked_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic_core import ErrorDetails

_PREFIX = "PROMPT_OPERATOR_"
_AUDIT_NAME = r"^([a-z0-9-]+/)?[a-z0-9]([a-z0-9.-]{0,240}[a-z0-9])?$"
_log = logging.getLogger(__name__)


class SettingsError(click.ClickException):
    """A setting is wrong; the message names it, where it was given, and what would be right."""

    exit_code = 2


def _listed(value: object) -> object:
    """Accept `a,b` as the environment gives it."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class Settings(BaseModel):
    """The settings of one run; the description of a field is its help."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    prometheus_url: str = Field("", description="Address of the Prometheus to query; empty: no rule can be judged.")
    prometheus_ca_file: str = Field(
        "", description="Certificates of the authorities to trust for it, PEM; empty: the machine's."
    )
    prometheus_bearer_token_file: str = Field(
        "", description="File with the bearer token for it; read again when it changes."
    )
    prometheus_query_lag: Duration = Field(
        timedelta(),
        ge=timedelta(),
        le=timedelta(minutes=10),
        description="How far behind the present its newest samples may be; 30s or more behind remote write.",
    )
    sources: tuple[Source, ...] = Field(
        (), max_length=50, description="Further metric sources, which `metrics.source` names; only in the file."
    )
    tick: Duration = Field(timedelta(seconds=15), ge=timedelta(seconds=1), description="How often rules are judged.")
    profiles_dir: str = Field(
        "",
        description="Folder of YAML files with metric profiles; each adds to the shipped ones or replaces one by name.",
    )
    namespaces: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        (), description="Namespace to watch; repeatable. None means all."
    )
    health_address: str = Field(
        ":8080", description="Where /healthz and /readyz answer, [host]:port; empty switches them off."
    )
    metrics_address: str = Field(
        ":8080",
        description="Where /metrics and /diagnostics answer, [host]:port; empty switches them off. "
        "The same address as for health is one server.",
    )
    metrics_auth: Literal["TokenReview", "None"] = Field(
        "TokenReview", description="Who may read metrics and diagnostics: users the API server allows, or everybody."
    )
    rule_metrics: Literal["all", "notNormal", "off"] = Field(
        "notNormal",
        description="Which single rules /metrics shows with value, threshold and state. "
        "all is for up to about a thousand prompts.",
    )
    mode: Mode = Field(Mode.ACTIVE, description="What the operator does; re-read from the file without a restart.")
    lease: str = Field(
        "",
        pattern=r"^([a-z0-9-]+/)?[a-z0-9.-]+$|^$",
        description="Lease that one operator at a time holds, NAME or NAMESPACE/NAME; the others stand by. "
        "Empty: no election.",
    )
    audit: Literal["stdout", "file", "configMap", "off"] = Field(
        "stdout", description="Where the audit trail goes: one JSON object a line; the log goes to standard error."
    )
    audit_file: str = Field("", description="File of the audit trail with --audit=file; lines are only ever added.")
    audit_name: str = Field(
        "prompt-operator-audit",
        pattern=_AUDIT_NAME,
        description="ConfigMaps of the audit trail with --audit=configMap, NAME or NAMESPACE/NAME; a number is added.",
    )
    audit_anchor: str = Field(
        "",
        pattern=f"{_AUDIT_NAME}|^$",
        description="ConfigMap, NAME or NAMESPACE/NAME, that keeps the trail's last hash: with it a cut-off end is "
        "found. Empty: none.",
    )
    workers: int = Field(16, ge=1, le=256, description="How many objects are reconciled at once.")
    kubeconfig: str = Field("", description="Path of a kubeconfig; empty: KUBECONFIG, the pod's account, then home.")
    context: str = Field("", description="Context of the kubeconfig; empty: the current one.")
    log_format: Literal["json", "text"] = Field("json", description="One JSON object a line, or lines for people.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least level logged.")
    config: str = Field("", description="YAML file with these settings, names in camelCase.")
    mode_pinned: bool = Field(default=False, exclude=True, repr=False)
    """Whether a flag or the environment set the mode, so that the file does not."""

    @field_validator("prometheus_url")
    @classmethod
    def _http(cls, value: str) -> str:
        return checked_url(value) if value else ""

    @field_validator("health_address", "metrics_address")
    @classmethod
    def _address(cls, value: str) -> str:
        if value:
            split_address(value)
        return value

    @model_validator(mode="after")
    def _audit_has_its_file(self) -> Self:
        if (self.audit == "file") != bool(self.audit_file):
            raise ValueError("--audit=file and --audit-file belong together")
        return self

    @model_validator(mode="after")
    def _one_source_per_name(self) -> Self:
        try:
            names = [source.name for source in self.metric_sources()]
        except ValidationError as error:
            raise ValueError(_explain(error, {})) from None
        if twice := sorted({name for name in names if names.count(name) > 1}):
            also = ": --prometheus-url is the source default" if DEFAULT_SOURCE in twice else ""
            raise ValueError(f"two metric sources are called {', '.join(twice)}{also}")
        if not self.prometheus_url and (self.prometheus_ca_file or self.prometheus_bearer_token_file):
            raise ValueError("--prometheus-ca-file and --prometheus-bearer-token-file need --prometheus-url")
        return self

    def metric_sources(self) -> tuple[Source, ...]:
        """Return every source: `default`, where an address is set for it, and those of the file."""
        if not self.prometheus_url:
            return self.sources
        default = Source(
            name=DEFAULT_SOURCE,
            url=self.prometheus_url,
            ca_file=self.prometheus_ca_file,
            bearer_token_file=self.prometheus_bearer_token_file,
            query_lag=self.prometheus_query_lag,
        )
        return (default, *self.sources)


_NAMES = tuple(name for name in Settings.model_fields if name != "mode_pinned")
FILE_ONLY = frozenset({"sources"})
"""Settings with a structure of their own: neither a flag nor a variable."""
_FLAGS = tuple(name for name in _NAMES if name not in FILE_ONLY)


def split_address(address: str) -> tuple[str | None, int]:
    """Return host and port of `[host]:port`; None is every address of the machine.

    Raises:
        ValueError: there is no port between 0 and 65535.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004
        raise ValueError(f"{address!r} is not [host]:port, for example :8080 or 127.0.0.1:8080")
    return host.strip("[]") or None, int(port)


def flag(name: str) -> str:
    """Return the flag of a setting: `--tick`; the repeatable one is in the singular."""
    return "--" + ("namespace" if name == "namespaces" else name.replace("_", "-"))


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"{_PREFIX}{name.upper()}"


def options() -> list[click.Option]:
    """Return the settings as options of a click command, without defaults: those come after environment and file."""
    return [_option(name) for name in _FLAGS]


def load(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Read the settings of a run from its arguments, the environment and the file they name.

    Raises:
        SettingsError, click.UsageError: something is wrong or unknown; `show()` prints it.
        SystemExit: after `--help`.
    """
    command = click.Command(
        "prompt-operator run",
        params=list(options()),
        callback=lambda **flags: resolve(flags, environ),
        help="Run the operator.",
        epilog="A flag wins over its environment variable, that over the file, that over the default.",
    )
    settings = command.main(list(argv), prog_name=command.name, standalone_mode=False)
    if not isinstance(settings, Settings):
        raise SystemExit(settings)
    return settings


def resolve(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Merge what the flags gave (None or an empty tuple: nothing), the environment and the file."""
    given = {name: (flag(name), value) for name, value in flags.items() if value not in (None, ())}
    from_env = _from_environ(environ)
    config = {**from_env, **given}.get("config", ("", ""))[1]
    merged = {**(_from_file(Path(config)) if config else {}), **from_env, **given}
    try:
        return Settings(
            **{name: value for name, (_, value) in merged.items()}, mode_pinned="mode" in from_env or "mode" in given
        )
    except ValidationError as error:
        raise SettingsError(_explain(error, {name: source for name, (source, _) in merged.items()})) from error


class ModeWatch:
    """The mode of this moment: the file's, unless a flag or the environment pins it."""

    def __init__(self, settings: Settings) -> None:
        self._file = None if settings.mode_pinned or not settings.config else Path(settings.config)
        self._mode, self._complaint = settings.mode, ""

    def read(self) -> Mode:
        """Return the mode the file gives now; while the file is broken or missing, the last one, and say so once."""
        if self._file is not None:
            self._mode = self._read(self._file)
        return self._mode

    def _read(self, file: Path) -> Mode:
        try:
            _, value = _from_file(file, empty=False).get("mode", ("", Mode.ACTIVE))
            mode = Mode(value)
        except (SettingsError, ValueError) as error:
            complaint = error.message if isinstance(error, SettingsError) else str(error)
            if complaint != self._complaint:
                _log.error("the mode stays %s: %s", self._mode, complaint)
            self._complaint = complaint
            return self._mode
        self._complaint = ""
        if mode != self._mode:
            _log.warning("mode %s -> %s, as %s says", self._mode, mode, file)
        return mode


def _option(name: str) -> click.Option:
    field = Settings.model_fields[name]
    default = f"{field.default.total_seconds():g}s" if isinstance(field.default, timedelta) else field.default
    shown = f"; default {default}" if default not in ("", ()) else ""
    also = {"prometheus_url": " or PROMETHEUS_URL", "mode": " or PROMPTS_ENABLED=false"}.get(name, "")
    return click.Option(
        [flag(name), name],
        multiple=name == "namespaces",
        metavar=_metavar(name),
        help=f"{field.description}  [env {variable(name)}{also}{shown}]",
    )


def _metavar(name: str) -> str:
    annotation = Settings.model_fields[name].annotation
    if annotation is timedelta:
        return "DURATION"
    if name in {"config", "kubeconfig"} or name.endswith("_file"):
        return "FILE"
    choices = list(Mode) if annotation is Mode else get_args(annotation)
    literal = all(isinstance(one, str) for one in choices)  # of a tuple's type the arguments are types
    return (
        {"workers": "N", "prometheus_url": "URL", "profiles_dir": "DIR"}.get(name)
        or (literal and "|".join(choices))
        or "TEXT"
    )


def _from_environ(environ: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """Return what the environment sets, by setting: the variable's name and its value."""
    found: dict[str, tuple[str, Any]] = {}
    if environ.get("PROMETHEUS_URL"):
        found["prometheus_url"] = ("PROMETHEUS_URL", environ["PROMETHEUS_URL"])
    if environ.get("PROMPTS_ENABLED", "").lower() in {"false", "0", "no"}:
        found["mode"] = ("PROMPTS_ENABLED", Mode.FALLBACK)
    for name in _FLAGS:
        if variable(name) in environ:
            found[name] = (variable(name), environ[variable(name)])
    return found


def _from_file(path: Path, *, empty: bool = True) -> dict[str, tuple[str, Any]]:
    """Return what the file sets, by setting: where it stands, and its value.

    Without `empty` a file of no bytes is an error: somebody is about to write it, and that must not thaw anything.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = strictyaml.load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"cannot read {path}: {_yaml_problem(error)}") from None
    if not text and not empty:
        raise SettingsError(f"{path} is empty")
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: expected names and values, found a {type(content).__name__}")
    known = {to_camel(name): name for name in _NAMES if name != "config"}
    if unknown := [key for key in content if key not in known]:
        raise SettingsError(f"{path}: " + "; ".join(_unknown(str(key), list(known)) for key in unknown))
    return {known[key]: (f"{key} in {path}", value) for key, value in content.items()}


def _yaml_problem(error: yaml.YAMLError) -> str:
    """Say what is wrong and where, without the line itself: it may hold the value of a header."""
    mark = getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{getattr(error, 'problem', None) or 'this is not YAML'}{where}"


def _unknown(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"unknown setting {key!r}, " + (f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}")


def _explain(error: ValidationError, sources: Mapping[str, str]) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        key, *inside = map(str, problem["loc"] or ("",))
        name = next((name for name in _NAMES if key in (name, to_camel(name))), key)
        where = ".".join((sources.get(name, name), *inside))
        lines.append(f"{where}: {_message(problem)}" if where else _message(problem))
    return "\n".join(lines)


def _message(problem: ErrorDetails) -> str:
    if problem["type"] == "extra_forbidden":
        block = Header if "headers" in problem["loc"] else Source
        return _unknown(str(problem["loc"][-1]), [str(field.alias) for field in block.model_fields.values()])
    return problem["msg"].removeprefix("Value error, ")
