"""A task in the shape of GLUE: is the subject of a sentence one or several?"""

import numpy as np

import geomprobe as gp

NOUNS = ("dog", "tree", "bird", "house", "river", "child", "teacher", "boat", "garden", "letter")
VERBS = ("sleep", "fall", "arrive", "stand", "wait", "move")
PLACES = ("near the wall", "in the rain", "by the sea", "after noon")


def split(name, nouns):
    """Return every noun with every verb and place, once in the singular and once in the plural."""
    rows = [
        (f"The {noun}{'s' * many} {verb}{'s' * (not many)} {place}.", many)
        for noun in nouns
        for verb in VERBS
        for place in PLACES
        for many in (0, 1)
    ]
    texts, labels = zip(*rows, strict=True)
    ids = tuple(f"{name}/{i}" for i in range(len(rows)))
    return gp.Split(name, texts, None, np.array(labels, np.int64), ids)


def plurals(data_dir):
    """Return the task; it needs no data, so the folder of --data is not read."""
    return gp.Task(
        "plurals",
        "classification",
        train=split("train", NOUNS[:7]),
        validation=split("validation", NOUNS[7:]),
        label_names=("one", "several"),
        score="accuracy",
        source="geomprobe-example",
    )
