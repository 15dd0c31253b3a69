"""`kubectl prompt explain`: how a prompt is, why, and what to do."""
