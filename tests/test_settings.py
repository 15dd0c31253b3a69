"""Settings: precedence, errors that help, and the mode that changes without a restart."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from pydantic import ValidationError

from prompt_operator.core.mode import Mode
from prompt_operator.settings import FILE_ONLY, ModeWatch, Settings, SettingsError, flag, load, split_address, variable

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = [name for name in Settings.model_fields if name not in {"mode_pinned", *FILE_ONLY}]


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], str]:
    """Write a settings file and return its path."""

    def write(text: str) -> str:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_the_defaults_need_nothing() -> None:
    """Without arguments, environment and file the operator runs with what the contract says."""
    settings = load([], {})
    assert settings.tick == timedelta(seconds=15)
    assert settings.namespaces == ()
    assert settings.health_address == settings.metrics_address == ":8080"
    assert settings.mode is Mode.ACTIVE


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(config: Callable[[str], str]) -> None:
    """Each layer is taken away in turn."""
    path = config("tick: 40s\n")
    environ = {"PROMPT_OPERATOR_TICK": "30s", "PROMPT_OPERATOR_CONFIG": path}
    assert load(["--tick", "20s"], environ).tick.seconds == 20
    assert load([], environ).tick.seconds == 30
    assert load(["--config", path], {}).tick.seconds == 40
    assert load(["--config", config("")], {}).tick.seconds == 15


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ("prometheusUrl: http://prometheus:9090/", "prometheus_url", "http://prometheus:9090"),
        ("namespaces: [a, b]", "namespaces", ("a", "b")),
        ("mode: Frozen", "mode", Mode.FROZEN),
        ("healthAddress: ''", "health_address", ""),
        ("workers: 4", "workers", 4),
    ],
)
def test_the_file_uses_camel_case_names(config: Callable[[str], str], given: str, field: str, value: Any) -> None:
    """Values have the types of YAML."""
    assert getattr(load(["--config", config(given)], {}), field) == value


def test_namespaces_are_repeated_flags_or_a_list_in_the_environment() -> None:
    """`--namespace a --namespace b` and `a,b` are the same."""
    assert load(["--namespace", "a", "--namespace", "b"], {}).namespaces == ("a", "b")
    assert load([], {"PROMPT_OPERATOR_NAMESPACES": "a, b"}).namespaces == ("a", "b")


def test_prometheus_url_is_found_where_everybody_puts_it() -> None:
    """PROMETHEUS_URL counts, the operator's own variable before it."""
    assert load([], {"PROMETHEUS_URL": "http://a"}).prometheus_url == "http://a"
    both = {"PROMETHEUS_URL": "http://a", "PROMPT_OPERATOR_PROMETHEUS_URL": "http://b"}
    assert load([], both).prometheus_url == "http://b"


def test_prompts_enabled_false_means_fallback(config: Callable[[str], str]) -> None:
    """It wins over the file; a flag and the operator's own variable win over it; `true` says nothing."""
    path = config("mode: Active")
    off = {"PROMPTS_ENABLED": "false"}
    assert load(["--config", path], off).mode is Mode.FALLBACK
    assert load(["--mode", "Frozen"], off).mode is Mode.FROZEN
    assert load([], off | {"PROMPT_OPERATOR_MODE": "Active"}).mode is Mode.ACTIVE
    assert load(["--config", path], {"PROMPTS_ENABLED": "true"}).mode is Mode.ACTIVE


@pytest.mark.parametrize(
    ("argv", "environ", "message"),
    [
        (["--tick", "15"], {}, "--tick: '15' is not a duration such as"),
        (["--tick", "0s"], {}, "--tick: Input should be greater than or equal to 1 second"),
        ([], {"PROMPT_OPERATOR_TICK": "soon"}, "PROMPT_OPERATOR_TICK: 'soon' is not a duration"),
        (["--mode", "active"], {}, "--mode: Input should be 'Active', 'Fallback' or 'Frozen'"),
        ([], {"PROMETHEUS_URL": "prometheus:9090"}, "PROMETHEUS_URL: .*does not begin with http"),
        (["--health-address", "8080"], {}, "--health-address: '8080' is not .host.:port"),
        (["--workers", "many"], {}, "--workers: Input should be a valid integer"),
        (["--config", "nowhere.yaml"], {}, "cannot read nowhere.yaml"),
    ],
)
def test_a_wrong_value_is_named_with_its_source(argv: list[str], environ: dict[str, str], message: str) -> None:
    """The error says which flag or variable is meant and what would be right."""
    with pytest.raises(SettingsError, match=message):
        load(argv, environ)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("promteheusUrl: http://a", "unknown setting 'promteheusUrl', did you mean 'prometheusUrl'"),
        ("zzz: 1", "unknown setting 'zzz', known are prometheusUrl, prometheusCaFile"),
        ("prometheus_url: http://a", "did you mean 'prometheusUrl'"),
        ("tick: 15", "tick in .*config.yaml: 15 is not a duration"),
        ("modePinned: true", "unknown setting 'modePinned'"),
        ("config: other.yaml", "unknown setting 'config'"),
        ("- a", "expected names and values, found a list"),
        ("a: [", "cannot read"),
        ("tick: 15s\ntick: 30s", "cannot read .*: tick is there twice in line 2, column 1"),
        ("tick: 0x_", "cannot read .*: this is no value of type int in line 1, column 7"),
    ],
)
def test_a_wrong_file_is_an_error_that_helps(config: Callable[[str], str], text: str, message: str) -> None:
    """Unknown names are refused with a suggestion, broken files named."""
    with pytest.raises(SettingsError, match=message):
        load(["--config", config(text)], {})


def test_an_unknown_flag_is_a_usage_error() -> None:
    """Click's own suggestion stays."""
    with pytest.raises(click.UsageError, match="--tikc") as caught:
        load(["--tikc", "15s"], {})
    assert "--tick" in caught.value.format_message()


@pytest.mark.parametrize("name", NAMES)
def test_help_names_every_setting_its_variable_and_default(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing can be set that --help does not show."""
    with pytest.raises(SystemExit) as end:
        load(["--help"], {})
    text = "".join(capsys.readouterr().out.split())  # long names are broken at the end of a line
    assert end.value.code == 0
    assert flag(name) in text
    assert variable(name) in text
    assert "15s" in text


def test_settings_cannot_be_changed_later() -> None:
    """What was read at the start holds."""
    settings = load([], {})
    with pytest.raises(ValidationError, match="frozen"):
        settings.workers = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        (":8080", (None, 8080)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:9", ("::1", 9)),
        ("host:65535", ("host", 65535)),
    ],
)
def test_addresses_are_split(address: str, parts: tuple[str | None, int]) -> None:
    """No host means all addresses; IPv6 is in brackets."""
    assert split_address(address) == parts


# --- the mode without a restart


def test_the_mode_follows_the_file(config: Callable[[str], str]) -> None:
    """Each read sees the file as it is; without the name the default holds."""
    watch = ModeWatch(load(["--config", config("mode: Active")], {}))
    seen = [watch.read()]
    for text in ("mode: Frozen", "mode: Fallback", "tick: 20s"):
        config(text)
        seen.append(watch.read())
    assert seen == [Mode.ACTIVE, Mode.FROZEN, Mode.FALLBACK, Mode.ACTIVE]


@pytest.mark.parametrize("broken", ["mode: Frozn", "mode: [", "mdoe: Active", None])
def test_a_broken_file_keeps_the_last_mode_and_says_so_once(
    config: Callable[[str], str], broken: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A typing error while editing does not switch the operator, and the log is not filled."""
    path = config("mode: Frozen")
    watch = ModeWatch(load(["--config", path], {}))
    if broken is None:
        Path(path).unlink()
    else:
        config(broken)
    with caplog.at_level(logging.ERROR):
        assert {watch.read() for _ in range(3)} == {Mode.FROZEN}
    (record,) = caplog.records
    assert "the mode stays Frozen" in record.getMessage()


@pytest.mark.parametrize(
    ("argv", "environ"),
    [(["--mode", "Fallback"], {}), ([], {"PROMPTS_ENABLED": "false"}), ([], {"PROMPT_OPERATOR_MODE": "Fallback"})],
)
def test_a_pinned_mode_does_not_follow_the_file(
    config: Callable[[str], str], argv: list[str], environ: dict[str, str]
) -> None:
    """What a flag or the environment says holds for the whole run."""
    watch = ModeWatch(load([*argv, "--config", config("mode: Frozen")], environ))
    assert watch.read() is Mode.FALLBACK
