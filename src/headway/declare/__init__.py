"""Declaring flows: sources, streams and steps, as users write them, put down as the data of `headway.graph`."""
