"""`kubectl prompt audit`: the trail, checked and replayed."""
