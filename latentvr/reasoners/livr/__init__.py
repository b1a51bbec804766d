"""LIVR, arXiv 2512.21218."""
