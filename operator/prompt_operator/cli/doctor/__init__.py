"""`kubectl prompt doctor`: a snapshot of the cluster, the findings in it, and a remedy for each."""
