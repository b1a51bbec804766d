"""Layouts of published data sets: one file each, from the set's own folder to typed rows."""
