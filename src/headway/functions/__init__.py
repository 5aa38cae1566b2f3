"""Durable functions, without an engine: declaring them, their histories, the loop that steps them, and their replay."""
