"""Filters, metrics, aggregation, standard errors: a pure pass over stored responses."""
