"""How often evidence decides wrongly, and how late: thousands of simulated rollouts.

Run ``python -m benchmarks.decisions``; ``--quick`` has fewer runs. A rollout is a 5 % canary, looked at every
five requests of the candidate, if a row says nothing else. All runs of a row are simulated at once with
numpy, by twins of the tests in ``bento_rollout.analysis``; the row ``check`` holds the twins against the
classes themselves, look by look, to 1e-9. The same seed gives the same numbers.
"""
