"""Parts of another package for collapse-lm."""
