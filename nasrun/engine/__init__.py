"""Run a search or a retraining: build the parts, drive the one loop, watch it, sum it up."""
