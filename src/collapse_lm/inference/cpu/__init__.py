"""Decoding passes on a CPU as machine code; importing this package imports no numba.

`requirements` says what the machine code needs, `openmp` finds the threads that it runs
on, and neither imports numba. All else is imported once a network was chosen that uses
it: `network` (the `Network`), `passes` (what it calls), `whole_pass`, `rows` and `tile`
(the machine code), `team`, `arguments` and `pointers` (how it is called).
"""
