"""A gate: whether a candidate may take the place of a baseline, by the intervals of their differences and a policy."""

from geomprobe.comparison.gate.decide import CANNOT_TELL, FAILED, PASSED, SKIPPED, Check, Gate, decide
from geomprobe.comparison.gate.policy import DEFAULT, Rule, read_policy
from geomprobe.comparison.gate.printed import About
