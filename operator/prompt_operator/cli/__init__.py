"""`kubectl prompt`: a file per verb, on the same models and decisions as the operator."""
