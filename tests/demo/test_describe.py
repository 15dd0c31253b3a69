"""What kubectl describes, made comparable."""

from devcluster.demo.describe import normalised, shortened

TEXT = """Name:         support-bot
Namespace:    support
Labels:       <none>
Metadata:
  UID:  c865b490
Spec:
  Version:  1.1.0
Status:
  Active Version:  1.0.0
  Decision:
    At:        2026-11-21T08:29:58Z
    Evidence:
      Samples:     334
    From Hash:  sha256:cd73e638e993147e77fcc39515e8fe08b33df2e1479c846aa31c2f0ec6732f27
    Id:        support-bot-20261121t082958z-466f36fe
    Reason:    error_rate 40.0% (134 of 334 in 1m; at least 31.6% at 99.99% confidence) > 5%
  History:
    By:  kubectl
Events:
  Type     Reason      Age                From             Message
  ----     ------      ----               ----             -------
  Warning  RolledBack  60s                prompt-operator  1.1.0 -> 1.0.0
  Normal   Activated   90s (x2 over 2m)   prompt-operator  nothing -> 1.0.0
"""


def test_only_what_matters_is_kept() -> None:
    """Metadata and history go, the decision stays with all its members."""
    text = shortened(TEXT)

    assert "UID" not in text
    assert "History" not in text
    assert "By:  kubectl" not in text
    assert "      Samples:     334\n" in text


def test_what_differs_between_runs_is_masked() -> None:
    """Times, ids, figures and ages are masked, hashes cut, Events ordered; thresholds stay."""
    lines = normalised(TEXT).splitlines()

    assert "    Id:        support-bot-<time>-<id>" in lines
    assert "    From Hash:  sha256:cd73e638…" in lines
    assert "      Samples:     <n>" in lines
    assert "    Reason:    error_rate <n>% (<n> of <n> in 1m; at least <n>% at 99.99% confidence) > 5%" in lines
    assert lines[-2:] == [
        "  Normal  Activated  <age>  prompt-operator  nothing -> 1.0.0",
        "  Warning  RolledBack  <age>  prompt-operator  1.1.0 -> 1.0.0",
    ]


def test_only_the_evidence_of_the_rule_that_decided_is_kept() -> None:
    """A decision keeps a dozen measurements; its reader wants the first, and what comes after them."""
    pieces = "".join(f"      At:     2026-11-21T08:29:58Z\n      Rule:  rule-{n}\n" for n in range(3))
    lines = shortened(TEXT.replace("      Samples:     334\n", pieces)).splitlines()

    assert [line.strip() for line in lines if "Rule:" in line] == ["Rule:  rule-0"]
    assert any(line.startswith("    From Hash:") for line in lines)
