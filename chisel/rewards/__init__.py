"""Rewards: what each channel is worth, when (`schedule`), and how that becomes a number (`signal`, `shaping`)."""
