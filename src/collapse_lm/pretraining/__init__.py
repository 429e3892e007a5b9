"""Train a ladder of small GPT-2 models from scratch, as subjects of experiments on size.

`recipe` says what to train, `texts` on what; both leave torch alone. `tokenizer`,
`network` and `train` make the parts, `ladder` joins them to the disk.
"""

from collapse_lm.pretraining.recipe import Recipe, Size

__all__ = ["Recipe", "Size"]
