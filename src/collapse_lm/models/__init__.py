"""One reference string to a causal language model, its tokenizer and its provenance."""
