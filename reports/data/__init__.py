"""What a report reads of a results folder."""
