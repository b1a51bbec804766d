"""Does a model use its latents? Interventions, readings and figures."""
