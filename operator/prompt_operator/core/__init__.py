"""What the operator decides: pure functions over frozen facts. No I/O, no clock, no dice, no logging."""
