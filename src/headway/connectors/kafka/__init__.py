"""Kafka: topics as inputs."""
