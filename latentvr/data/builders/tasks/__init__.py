"""The builders, one file each; `BUILDERS` of `latentvr.data.builders.registry` lists them."""
