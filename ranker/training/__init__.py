"""Training: groups and negatives, losses, the loop, and its checkpoints, processes and watchdog."""
