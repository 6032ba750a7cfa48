"""Measure what networks cost, one file per choice of `conf/objective`, and keep within limits."""
