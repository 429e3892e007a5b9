"""Models so small that what becomes of them is known: they try the laboratory itself.

    collapse-lm run quickstart --set model=toy:unigram --set evaluation.corpora=toy:unigram

A toy is a model like any other: same loop, sampler, sources, optimizers, measures and rule.
docs/toys.md says what each must do, and what it does.
"""
