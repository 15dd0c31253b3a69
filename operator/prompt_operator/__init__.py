"""The operator for LLM prompts on Kubernetes."""
