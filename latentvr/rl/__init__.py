"""Reinforcement learning with groups of rollouts; nothing here names a method."""
