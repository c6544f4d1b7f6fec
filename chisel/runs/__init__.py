"""The run folder, and the work on it: training, guards, forks, estimates, path dependence."""
