"""The recording rules of every shipped metric profile, as files: for Prometheus, for its operator, for the chart."""

from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.adapters.rulefiles import prometheus_rule, rule_file


def files() -> dict[str, str]:
    """Path in the checkout -> text."""
    written = {}
    for name, profile in load_profiles().items():
        written[f"manifests/recording-rules/{name}.rules.yaml"] = rule_file(profile)
        written[f"manifests/recording-rules/{name}.prometheusrule.yaml"] = prometheus_rule(profile)
        written[f"helm/prompt-operator/files/recording-rules/{name}.yaml"] = rule_file(profile)
    return written
