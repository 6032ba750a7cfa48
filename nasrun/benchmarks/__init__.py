"""Hold the benchmark tables: what one can be asked, the files it comes in, import and checks."""
