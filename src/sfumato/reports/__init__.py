"""What a person reads: a data set, a run, its curves, an explanation in pictures."""
