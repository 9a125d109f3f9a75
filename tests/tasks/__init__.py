"""Tests of the task packages: from YAML to requests."""
