"""What is read where nobody chooses otherwise: of batteries, and of networks that chisel did not train."""

L2 = 1e-2  # the penalty of probes on squared weights
STATES = 128  # of the test half, on which nulls are drawn, and all that is held against them
NULLS = 100  # draws of every null
STRENGTHS = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)  # of steering, in units of what the feature itself does
