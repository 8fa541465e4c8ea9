"""Standard errors for every number: how far each row moves each metric, and the intervals that follow."""

from geomprobe.inference.estimate import Estimate, Interval
from geomprobe.inference.influence import number_clusters
from geomprobe.inference.tables import influence_table, measure, with_intervals

__all__ = ["Estimate", "Interval", "influence_table", "measure", "number_clusters", "with_intervals"]
