"""The terms that an objective sums, one subject a file."""
