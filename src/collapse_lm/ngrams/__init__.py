"""n-gram models and what a language model is read against by them: counts, smoothing, a cache.

The pure pieces know nothing of networks; `cache_eval` and `ngram_eval` do.
"""
