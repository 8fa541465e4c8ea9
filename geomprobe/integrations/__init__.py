"""Where encoders are trained, kept and chosen: trainers, trackers, model cards, benchmarks, clusters.

Each module needs a package of its own and is imported only when used.
"""
