"""The seeds that commands take."""

LARGEST_SEED = 2**32 - 1
"""The largest that all random generators take."""
