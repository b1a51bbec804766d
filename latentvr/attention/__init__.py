"""Who sees whom: roles, visibilities and the kernels that honour them.

This page is free of torch, so that a recipe can be read without it; the tensors live in
`latentvr.attention.kernels` and `latentvr.attention.mask`.
"""

from latentvr.attention.roles import Role
from latentvr.attention.visibility import PRESETS, Visibility, preset

__all__ = ["PRESETS", "Role", "Visibility", "preset"]
