"""A metric, a task and a pooling for geomprobe, one short file each."""
