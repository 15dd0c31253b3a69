"""Rules: the condition language, what to measure, the verdict and how long it has stood."""
