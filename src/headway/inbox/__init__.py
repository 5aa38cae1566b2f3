"""A durable local log for what cannot be read again: what comes by HTTP, or from a command."""
