"""Define the search spaces without torch: genes, neighbours, graphs; one file per choice."""
