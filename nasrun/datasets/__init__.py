"""Offer classification tasks, one file per choice of `conf/dataset`."""
