"""How fast it is: one file for each row (or group of rows) of the table in docs/performance.md.

`peers` holds what we are compared with, `harness` how it is measured, `figures` the results.
"""
