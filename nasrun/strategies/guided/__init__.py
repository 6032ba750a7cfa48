"""Search by evolution that a predictor of performance guides."""
