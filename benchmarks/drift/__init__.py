"""How often tests of drift cry wolf, and how late they find a change: hundreds of simulated streams.

Run ``python -m benchmarks.drift``; ``--quick`` has fewer and shorter streams: under 3 minutes, not an hour.
Rows are independent draws of breast_cancer (569 rows, 30 correlated features) or, for losses, of those of a
logistic regression on them. Many streams are tested at once, as lanes of the engine; the row ``check`` holds
that against `DriftTest` and `LossTest` themselves, to 1e-9. Beside them stand river's detectors with their
defaults, on each feature (any may alarm; features are standardised by the reference), and Evidently's rule,
written out. The same seed gives the same numbers.
"""
