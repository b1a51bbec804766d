"""Recipes: their schema, reading, rules and documentation. Free of torch."""
