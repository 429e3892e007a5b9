"""Dynamic evaluation: a text is scored segment by segment, and each is trained on once scored.

Mikolov et al. 2010; Krause et al. 2018 (arXiv 1709.07432). Knows nothing of the command line.
"""
