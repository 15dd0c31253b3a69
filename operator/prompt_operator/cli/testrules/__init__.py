"""`kubectl prompt test-rules`: files of rule tests, read and played."""
