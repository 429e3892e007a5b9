"""The paper's sentences, each with its test and its verdict."""
