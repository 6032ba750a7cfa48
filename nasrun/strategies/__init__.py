"""Implement the search methods, one file per method, a base per family."""
