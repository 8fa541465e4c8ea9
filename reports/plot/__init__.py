"""Figures of results on matplotlib axes, for papers and notebooks: the data and the drawing of a report.

Each function takes results (of `gp.read_results` or `gp.analyze`) or a results folder, and an axes, and returns the
axes. Without an axes it makes a figure with pyplot; with one it changes nothing else of the figure. What is not asked
for is chosen: the deepest layer, and the first task, pooling and metric that have numbers; title and labels say which.
A warning counts what is not drawn: cells that failed, models and tasks past the first twelve.

Examples
--------
>>> import geomprobe as gp
>>> import matplotlib.pyplot as plt
>>> results = gp.read_results("runs/compare/mine")
>>> figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3))
>>> ax = gp.plot.spectrum(results, left)
>>> ax = gp.plot.forest(results, right, metric="mean_cosine")
>>> figure.savefig("geometry.pdf")
"""

from geomprobe.reports.plot.comparisons import forest, heatmap, summary
from geomprobe.reports.plot.models import layers, spectrum, training, uniformity
from geomprobe.reports.plot.texts import map

__all__ = ["forest", "heatmap", "layers", "map", "spectrum", "summary", "training", "uniformity"]
