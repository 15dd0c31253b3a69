"""The recording rules of every metric profile, as files: for Prometheus, for the Prometheus Operator, for the chart."""

from typing import Any

import yaml

from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.core.rules.recording import rule_group

_WRITTEN = "# Written by ./operator/dev generate from the metric profile; see docs/long-windows.md.\n"


def files() -> dict[str, str]:
    """Path in the checkout -> text."""
    written = {}
    for name, profile in load_profiles().items():
        groups = {"groups": [rule_group(profile)]}
        written[f"manifests/recording-rules/{name}.rules.yaml"] = _yaml(groups)
        written[f"manifests/recording-rules/{name}.prometheusrule.yaml"] = _yaml(_object(name) | {"spec": groups})
        written[f"helm/prompt-operator/files/recording-rules/{name}.yaml"] = _yaml(groups)
    return written


def _object(profile: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "prompt-operator"}
    metadata = {"name": f"prompt-operator-{profile}", "namespace": "prompt-operator", "labels": labels}
    return {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": metadata}


class _Blocks(yaml.SafeDumper):
    """Writes texts of several lines as blocks, one line of the expression a line."""


def _text_node(dumper: _Blocks, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Blocks.add_representer(str, _text_node)


def _yaml(document: dict[str, Any]) -> str:
    return _WRITTEN + yaml.dump(document, Dumper=_Blocks, sort_keys=False, width=1000)
