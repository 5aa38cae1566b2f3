"""Traces by OpenTelemetry: spans for posts and for deliveries, which link to what caused them."""
