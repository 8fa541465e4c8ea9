"""From texts to vectors: one forward pass, every layer and pooling."""
