"""Trainers; they never know which method they train."""
