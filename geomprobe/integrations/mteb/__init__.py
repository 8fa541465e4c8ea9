"""mteb: its result folders as ours, ours in its format, its tasks as ours.

Reading needs no mteb. A task is an object of mteb, or its name where mteb is installed.
"""

from geomprobe.integrations.mteb.joining import join
from geomprobe.integrations.mteb.reading import read
from geomprobe.integrations.mteb.tasks import as_task
from geomprobe.integrations.mteb.writing import write

__all__ = ["as_task", "join", "read", "write"]
