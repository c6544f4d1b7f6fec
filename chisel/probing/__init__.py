"""Probing: what a checkpoint represents, what moves its decisions, what it chooses."""
