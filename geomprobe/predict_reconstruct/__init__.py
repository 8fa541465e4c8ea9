"""Everything about the published paper, Predict and Reconstruct (arXiv 2606.05173), but its masks (in pretrain)."""
