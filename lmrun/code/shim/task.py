"""Stands in for ``lm_eval.api.task``."""
