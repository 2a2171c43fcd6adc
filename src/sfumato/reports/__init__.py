"""Reports: inspection of a data set, summary and curves of a run, explanatory pictures."""
