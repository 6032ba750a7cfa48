"""Offer the program to Python: a few functions over the code that the commands run."""
