"""Joins: events of two streams with the same key, brought together by time."""
