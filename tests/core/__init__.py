"""The science, held against exact solutions: formulas against their definitions, samplers against closed forms."""
