"""Joins of streams that share a key."""
