"""Ways of asking a model."""
