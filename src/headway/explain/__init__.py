"""Flows and their plans for people: as text, diagram or data."""
