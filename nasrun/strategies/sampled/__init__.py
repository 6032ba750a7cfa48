"""Search by sampling architectures whose weights are shared."""
