"""Device memory of a training step, from the shapes of a model and of a batch."""
