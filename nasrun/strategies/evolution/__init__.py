"""Search by sampling, mutation and crossover of architectures."""
