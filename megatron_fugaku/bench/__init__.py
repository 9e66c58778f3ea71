"""Benchmarks that end in ratios: what this package does against what a user would have without it, in one run."""
