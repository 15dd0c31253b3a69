"""A real Kubernetes control plane and a real Prometheus on loopback, for the demo, the tests and the bench.

Standard library only: `operator/dev` imports it before the virtual environment exists.
"""
