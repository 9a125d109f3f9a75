"""TOML manifest to a typed, expanded manifest."""
