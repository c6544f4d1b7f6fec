"""Training: one member as a pure function, a population of them over devices."""
