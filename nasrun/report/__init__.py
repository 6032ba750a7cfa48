"""Compare many runs: collect, group, test, and write tables, figures and one page."""
