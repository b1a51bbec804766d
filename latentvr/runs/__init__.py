"""Whole runs, assembled from a resolved recipe."""
