"""Published benchmarks: their files as records, their prompts, and the figures that are reported of them."""
