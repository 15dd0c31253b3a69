"""The audit trail: what is written about each decision and each act of a person, how lines are chained, and replay."""
