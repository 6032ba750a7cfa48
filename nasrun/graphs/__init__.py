"""Encode architectures for predictors: paths, kernels, pairs that are one edit apart."""
