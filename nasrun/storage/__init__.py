"""Read and write files that survive a crash, and files of strangers within bounds."""
