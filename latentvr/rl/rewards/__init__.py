"""Rewards: the library's own, those of installed packages, and those of the user's file."""
