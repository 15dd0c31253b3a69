"""The figures the project promises, measured on this machine with the real operator and the real servers."""
