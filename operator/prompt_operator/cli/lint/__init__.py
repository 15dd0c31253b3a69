"""`kubectl prompt lint`: what is wrong with manifests."""
