"""How the steps of durable functions run: queues, limits, attempts, in this process or in workers elsewhere."""
