"""Differences of two models or of two groups of seeds, with verdicts in words."""
