"""Say what an architecture is worth, one file per choice of `conf/evaluator`."""
