"""The study language: what people write in files, validated. Nothing here imports JAX."""
