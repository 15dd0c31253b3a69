"""Settings of metric sources: what is accepted, what is refused and how, and what is never shown."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from prompt_operator.settings import SettingsError, load
from prompt_operator.sources import TENANT_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = "s3cret-value"


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], list[str]]:
    """Write a settings file and return the arguments that name it."""

    def write(text: str) -> list[str]:
        (tmp_path / "settings.yaml").write_text(text)
        return ["--config", str(tmp_path / "settings.yaml")]

    return write


def one(fields: str) -> str:
    """A settings file with one source."""
    return f"sources:\n- {{name: a, url: 'https://a', {fields}}}\n"


def test_the_default_source_comes_from_flags_environment_or_file() -> None:
    """Address, authority, token and lag of the one Prometheus that most clusters have."""
    argv = ["--prometheus-ca-file", "/ca", "--prometheus-bearer-token-file", "/token"]
    environ = {"PROMETHEUS_URL": "https://p:9090/", "PROMPT_OPERATOR_PROMETHEUS_QUERY_LAG": "30s"}
    (source,) = load(argv, environ).metric_sources()
    assert (source.name, source.url, source.ca_file) == ("default", "https://p:9090", "/ca")
    assert (source.bearer_token_file, source.query_lag) == ("/token", timedelta(seconds=30))
    assert load([], {}).metric_sources() == ()


def test_named_sources_come_from_the_file(config: Callable[[str], list[str]]) -> None:
    """Beside the default one, in their order; durations as everywhere."""
    text = """
    prometheusUrl: http://p
    sources:
    - {name: mimir, url: "https://m/prometheus/", tenant: shop, queryLag: 1m, timeout: 20s}
    - {name: thanos, url: "http://t", headers: [{name: X-A, value: b}]}
    """
    sources = load(config(text), {}).metric_sources()
    assert [source.name for source in sources] == ["default", "mimir", "thanos"]
    assert (sources[1].url, sources[1].tenant) == ("https://m/prometheus", "shop")
    assert (sources[1].query_lag.seconds, sources[1].timeout.seconds) == (60, 20)
    assert (sources[2].query_lag.seconds, sources[2].timeout.seconds) == (0, 30)


def test_the_default_source_may_stand_among_the_named_ones(config: Callable[[str], list[str]]) -> None:
    """Where it needs more than the flags offer."""
    (source,) = load(config("sources: [{name: default, url: 'http://p', tenant: t}]"), {}).metric_sources()
    assert source.name == "default"


REFUSED: dict[str, tuple[str, str]] = {
    "no address": ("sources: [{name: a}]", "sources in .*settings.yaml.0.url: Field required"),
    "no scheme": ("sources: [{name: a, url: p}]", "'p' does not begin with http:// or https://"),
    "password in the address": (f"sources: [{{name: a, url: 'http://u:{SECRET}@p'}}]", "use username and passwordFile"),
    "the same in prometheusUrl": (f"prometheusUrl: 'http://u:{SECRET}@p'", "use username and passwordFile"),
    "query in the address": ("sources: [{name: a, url: 'http://p?x=1'}]", "query or a fragment"),
    "unknown field": (one("cafile: x"), "unknown setting 'cafile', did you mean 'caFile'"),
    "checks switched off": (one("insecureSkipVerify: true"), "unknown setting 'insecureSkipVerify'"),
    "unknown field of a header": (one("headers: [{name: X, valuefile: v}]"), "did you mean 'valueFile'"),
    "a secret as text": (one(f"password: {SECRET}"), "unknown setting 'password', did you mean 'passwordFile'"),
    "name in capitals": ("sources: [{name: A, url: 'http://a'}]", "0.name: String should match"),
    "twice": ("sources: [{name: a, url: 'http://a'}, {name: a, url: 'http://b'}]", "two metric sources are called a"),
    "two default ones": (
        "prometheusUrl: http://p\nsources: [{name: default, url: 'http://a'}]",
        "two metric sources are called default: --prometheus-url is the source default",
    ),
    "half a certificate": (one("certFile: c"), "certFile and keyFile belong together"),
    "half a login": (one("username: u"), "username and passwordFile belong together"),
    "two ways to log in": (
        one("username: u, passwordFile: p, bearerTokenFile: t"),
        "exclude each other",
    ),
    "authorization twice": (
        one("bearerTokenFile: t, headers: [{name: authorization, value: v}]"),
        "exclude each other",
    ),
    "tenant twice": (one(f"tenant: t, headers: [{{name: {TENANT_HEADER}, value: v}}]"), "exclude each other"),
    "header twice": (one("headers: [{name: X, value: v}, {name: x, value: w}]"), "a header is given twice"),
    "header without value": (one("headers: [{name: X}]"), "header X needs either value or valueFile"),
    "header with both": (one("headers: [{name: X, value: v, valueFile: f}]"), "needs either value or valueFile"),
    "header of two lines": (
        one(f'headers: [{{name: X, value: "a\\n{SECRET}"}}]'),
        "characters that no header may have",
    ),
    "header of ours": (one("headers: [{name: Host, value: v}]"), "is set by the operator itself"),
    "no header name": (one("headers: [{name: 'a b', value: v}]"), "headers.0.name: String should match"),
    "tenant of two lines": (one('tenant: "a\\nb"'), "tenant has characters"),
    "certificates without TLS": ("sources: [{name: a, url: 'http://a', caFile: c}]", "need an https:// address"),
    "the same for the default": ("prometheusUrl: http://p\nprometheusCaFile: c", "need an https:// address"),
    "an authority for nothing": ("prometheusCaFile: c", "need --prometheus-url"),
    "lag": (one("queryLag: 1h"), "queryLag: Input should be less than or equal to 10 minutes"),
    "no list": ("sources: {name: a}", "sources in .*settings.yaml: Input should be a valid tuple"),
    "broken YAML": (f"sources:\n- {{name: a, password: {SECRET}", "cannot read .*settings.yaml: .* in line"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=list(REFUSED))
def test_what_is_wrong_is_said_without_its_value(config: Callable[[str], list[str]], text: str, message: str) -> None:
    """The operator does not start; the message names the place and what would be right, and no secret in it."""
    with pytest.raises(SettingsError, match=message) as caught:
        load(config(text), {})
    assert SECRET not in caught.value.format_message()


def test_no_dump_of_the_settings_shows_a_secret(config: Callable[[str], list[str]]) -> None:
    """The value of a header is the only one that may stand in settings at all."""
    settings = load(config(one(f"headers: [{{name: X, value: {SECRET}}}]")), {})
    shown: list[Any] = [repr(settings), str(settings), settings.model_dump(), settings.model_dump_json()]
    assert all(SECRET not in str(each) for each in shown)
