"""Rendering: strict, in one pass, and silent about values."""

from typing import Any

import pytest

from prompt_client.client import built_in
from prompt_client.errors import RenderError
from prompt_client.render import render_messages, render_text
from prompt_client.snapshot import Version


def version(text: str | None = None, **spec: Any) -> Version:
    """A version of the given content."""
    return built_in("greeting", spec if text is None else {"text": text, **spec}, "1.0.0")


@pytest.mark.parametrize("template", ["{{name}}", "{{ name }}", "{{\tname  }}"])
def test_simple_replaces_placeholders(template: str) -> None:
    """Space inside the braces does not matter."""
    assert render_text(version(f"Hi {template}!"), {"name": "Ada"}) == "Hi Ada!"


def test_values_are_not_expanded_again() -> None:
    """A user who types a placeholder gets it back as text: nothing of the template leaks into it."""
    rendered = render_text(version("{{ a }} {{ b }}"), {"a": "{{ b }}", "b": "{{ a }}"})
    assert rendered == "{{ b }} {{ a }}"


def test_numbers_are_written_as_text() -> None:
    """Numbers need no conversion by the caller."""
    assert render_text(version("{{ a }}/{{ b }}"), {"a": 3, "b": 0.5}) == "3/0.5"


@pytest.mark.parametrize("value", [None, ["a"], {"a": 1}, True, b"a"])
def test_values_that_are_no_text_are_refused(value: object) -> None:
    """`None` in a prompt is a bug nobody sees; the error names the variable and the type."""
    with pytest.raises(RenderError, match=f"variable 'name' is of type {type(value).__name__}"):
        render_text(version("{{ name }}"), {"name": value})


@pytest.mark.parametrize("template", ["{{ user.name }}", "{{> tone }}", "{{ }}", "{{ name", "{{ a b }}", "{{ na-me }}"])
def test_simple_knows_nothing_else(template: str) -> None:
    """Whatever else opens with two braces is an error with its line, never sent to a model as it stands."""
    with pytest.raises(RenderError, match="malformed placeholder on line 2"):
        render_text(version(f"Hi\n{template}"), {"name": "Ada", "a": "x"})


def test_braces_of_json_are_text() -> None:
    """An example of nested JSON in a prompt is no placeholder."""
    assert render_text(version('{"a": {"b": {}}}'), {}) == '{"a": {"b": {}}}'


def test_a_placeholder_without_a_value_is_refused() -> None:
    """An undeclared placeholder needs a value, and so does a declared variable without a default."""
    with pytest.raises(RenderError, match="placeholder 'name' has no value"):
        render_text(version("{{ name }}"), {})
    with pytest.raises(RenderError, match=r"variable 'name' is required by version 1\.0\.0"):
        render_text(version("{{ name }}", variables=[{"name": "name"}]), {})


def test_defaults_and_optional_variables() -> None:
    """A default fills a gap, a given value wins over it, an optional variable without one is empty."""
    one = version("{{ a }}-{{ b }}", variables=[{"name": "a", "default": "x"}, {"name": "b", "required": False}])
    assert render_text(one, {}) == "x-"
    assert render_text(one, {"a": "1", "b": "2"}) == "1-2"


def test_an_explicitly_required_variable_ignores_nothing() -> None:
    """`required: true` beside a default: the default still fills the gap."""
    one = version("{{ a }}", variables=[{"name": "a", "required": True, "default": "x"}])
    assert render_text(one, {}) == "x"


def test_values_longer_than_declared_are_refused_without_showing_them() -> None:
    """The error gives lengths, never the value."""
    one = version("{{ a }}", variables=[{"name": "a", "maxLength": 3}])
    assert render_text(one, {"a": "abc"}) == "abc"
    with pytest.raises(RenderError, match="variable 'a' has 4 characters, maxLength is 3") as caught:
        render_text(one, {"a": "SeCr"})
    assert "SeCr" not in str(caught.value)


def test_values_a_version_does_not_use_are_ignored() -> None:
    """Versions differ in what they use; the calling code passes all it has."""
    assert render_text(version("Hi."), {"name": "Ada"}) == "Hi."


def test_plain_is_left_as_it_is() -> None:
    """Engine Plain replaces nothing."""
    assert render_text(version("{{ name }} {% if %}", engine="Plain"), {"name": "Ada"}) == "{{ name }} {% if %}"


CHAT: dict[str, Any] = {
    "messages": [
        {"role": "System", "content": "Be {{ tone }}."},
        {"role": "History", "content": "{{ earlier }}"},
        {"role": "User", "content": "{{ question }}"},
    ]
}


def test_messages_are_rendered_with_lower_case_roles_and_the_history_in_place() -> None:
    """The list is what chat APIs take; earlier messages are put in unchanged, placeholders and all."""
    earlier = [{"role": "user", "content": "{{ tone }}"}, {"role": "assistant", "content": "Yes."}]
    rendered = render_messages(version(**CHAT), {"tone": "brief", "earlier": earlier, "question": "Why?"})
    assert rendered == [{"role": "system", "content": "Be brief."}, *earlier, {"role": "user", "content": "Why?"}]


def test_an_empty_history_message_stands_for_the_variable_history() -> None:
    """`content: ""` is how the API describes it."""
    one = version(messages=[{"role": "History", "content": ""}])
    assert render_messages(one, {"history": []}) == []
    with pytest.raises(RenderError, match="variable 'history' is missing"):
        render_messages(one, {})


@pytest.mark.parametrize("earlier", ["text", [1], [{"role": "system", "content": "x"}], [{"role": "user"}]])
def test_a_history_cannot_speak_for_the_system(earlier: object) -> None:
    """A conversation store is user data: a message with the role of the system in it is refused."""
    with pytest.raises(RenderError, match="variable 'earlier' is not a list of user, assistant and tool messages"):
        render_messages(version(**CHAT), {"tone": "brief", "earlier": earlier, "question": "Why?"})


def test_a_history_message_is_one_placeholder() -> None:
    """Text around the placeholder would be lost, so it is refused."""
    with pytest.raises(RenderError, match="is empty or one placeholder"):
        render_messages(version(messages=[{"role": "History", "content": "So far: {{ history }}"}]), {"history": []})


def test_text_and_messages_are_not_confused() -> None:
    """A text version can be had as one user message; a version of messages says which call to use."""
    assert render_messages(version("Hi."), {}) == [{"role": "user", "content": "Hi."}]
    with pytest.raises(RenderError, match=r"call render_messages\(\)"):
        render_text(version(**CHAT), {})


def test_jinja2_renders_with_declared_variables() -> None:
    """Engine Jinja2 has conditions and loops, and sees defaults and optional variables."""
    one = version(
        "{% for n in names %}{{ n }} {% endfor %}{% if tone %}{{ tone }}{% endif %}",
        engine="Jinja2",
        variables=[{"name": "tone", "required": False}],
    )
    assert render_text(one, {"names": ["a", "b"]}) == "a b "


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ missing }}", "'missing' is undefined"),
        ("{{ name.__class__.__mro__ }}", "SecurityError|unsafe"),
        ("{% if %}", "TemplateSyntaxError"),
        ("{{ name + 1 }}", "TypeError"),
    ],
)
def test_jinja2_is_strict_sandboxed_and_silent(template: str, message: str) -> None:
    """Undefined names, forbidden attributes and failures are errors that hold no value and chain none."""
    with pytest.raises(RenderError, match=message) as caught:
        render_text(version(template, engine="Jinja2"), {"name": "SeCrEt"})
    assert "SeCrEt" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_without_jinja2_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """jinja2 is loaded only when a version needs it."""
    monkeypatch.setitem(__import__("sys").modules, "jinja2.sandbox", None)
    with pytest.raises(RenderError, match="needs the package jinja2"):
        render_text(version("{{ a }}", engine="Jinja2"), {"a": "b"})
