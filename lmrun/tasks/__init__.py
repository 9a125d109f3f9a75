"""Task YAML to prompts and requests."""
