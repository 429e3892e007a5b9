"""Trackers of experiments (wandb, trackio, tensorboard) as observers: told, never asked."""
