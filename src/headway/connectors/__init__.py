"""Inputs and outputs: files of JSON lines, standard streams, and plain Python lists for tests."""
