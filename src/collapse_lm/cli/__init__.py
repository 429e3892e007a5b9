"""The command line: parse, call, print. Imports torch only inside commands that need it."""
