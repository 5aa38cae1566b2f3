"""Durable functions on Headway and on other engines, side by side: `python -m benchmarks.peers`.

The same function of three trivial local steps on each, started in each engine's own way. Engines run one at a time, in
turn, round after round, and the median of the rounds counts. Every step notes the time at which it begins, so that all
engines are measured by the same clock and at the same places. The others are no dependencies of Headway: what is not
installed is left out by name, with the command that brings it.
"""
