"""One flow on several machines; see `headway.cluster.coordinator` for how they go together."""
