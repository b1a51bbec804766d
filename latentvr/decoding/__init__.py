"""Generation of answers."""
