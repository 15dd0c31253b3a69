"""Manifests in files: where each part stands, and what their schema says of them."""
