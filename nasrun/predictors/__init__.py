"""Predict which architecture is better, one file per choice of `conf/predictor`."""
