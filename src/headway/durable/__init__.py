"""Durable functions as a flow: their instances are keyed state, what happens to them comes through durable logs."""
