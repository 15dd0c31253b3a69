"""The fuzzer is there for Linux alone; elsewhere the folder holds nothing to run."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("atheris") else ["test_targets.py"]
