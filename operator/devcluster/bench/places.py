"""Names for many prompts."""


def places(prompts: int, namespaces: int) -> list[tuple[str, str]]:
    """Return namespace and name of each prompt, spread evenly."""
    return [(f"bench-{number % namespaces}", f"prompt-{number}") for number in range(prompts)]
