"""An example of a method in a package of its own."""
