"""Objects of object stores as an input."""
