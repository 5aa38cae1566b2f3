"""The keyed steps of a stream, a family to a module: each declares operators through the public `process`."""
