"""Agents: networks and learners. One file each; the contract is in `agent`."""
