"""The sentences of a report: names, verdicts, findings, failed cells."""
