"""One outside system each; they do not know one another."""
