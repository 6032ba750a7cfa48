"""Write trained networks as files that run without nasrun, one per choice of `conf/exporter`."""
