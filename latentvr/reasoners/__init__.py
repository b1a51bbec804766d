"""Latent-reasoning methods; `base.py` is the interface, each folder is one method."""
