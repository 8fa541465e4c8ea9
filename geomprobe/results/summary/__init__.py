"""What results say: an index of their numbers, findings, and the summary that every output prints."""
