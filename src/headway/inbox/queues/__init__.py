"""Queues that cannot be read again, by way of the inbox: what is durable there is acknowledged."""
