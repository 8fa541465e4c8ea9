"""The common checks of the metric, and that a text's vector does not depend on padding."""

import torch
from geomprobe_example.metric import MEAN_LENGTH
from geomprobe_example.pooling import median
from geomprobe_example.task import plurals

import geomprobe as gp


def test_the_metric_does_what_its_record_says():
    gp.check_metric(MEAN_LENGTH)


def test_padding_is_not_read():
    states = torch.tensor([[[1.0], [5.0], [2.0], [99.0]]])
    assert median(states, torch.tensor([[True, True, True, False]])).tolist() == [[2.0]]


def test_the_task_has_both_classes_and_no_shared_sentence():
    task = plurals(None)
    assert set(task.train.labels) == set(task.validation.labels) == {0, 1}
    assert not set(task.train.first) & set(task.validation.first)
