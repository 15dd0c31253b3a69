"""The recording rules of a metric profile as YAML: a rule file of Prometheus, or an object for its operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from prompt_operator.core.rules.recording import rule_group

if TYPE_CHECKING:
    from prompt_operator.core.rules.profile import Profile

_WRITTEN = "# Written from the metric profile; change that instead. See docs/long-windows.md.\n"


def rule_file(profile: Profile) -> str:
    """Return a file for `rule_files`."""
    return _yaml(_groups(profile))


def prometheus_rule(profile: Profile) -> str:
    """Return a PrometheusRule (monitoring.coreos.com/v1)."""
    metadata = {
        "name": f"prompt-operator-{profile.name}",
        "namespace": "prompt-operator",
        "labels": {"app.kubernetes.io/name": "prompt-operator"},
    }
    head = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": metadata}
    return _yaml(head | {"spec": _groups(profile)})


def _groups(profile: Profile) -> dict[str, Any]:
    return {"groups": [rule_group(profile)]}


class _Blocks(yaml.SafeDumper):
    """Writes texts of several lines as blocks, one line of the expression a line."""


def _text_node(dumper: _Blocks, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Blocks.add_representer(str, _text_node)


def _yaml(document: dict[str, Any]) -> str:
    return _WRITTEN + yaml.dump(document, Dumper=_Blocks, sort_keys=False, width=1000)
