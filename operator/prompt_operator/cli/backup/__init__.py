"""`kubectl prompt backup` and `kubectl prompt restore`, and the archive between them."""
