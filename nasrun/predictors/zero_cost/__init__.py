"""Score networks without training them, one file per choice of `conf/proxy`."""
