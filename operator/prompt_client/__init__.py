"""Prompts from a mounted ConfigMap, for applications. The standard library is all it needs at import."""
