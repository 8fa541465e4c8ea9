"""The grid of models, tasks, layers and poolings: plan, embed, measure, record."""
