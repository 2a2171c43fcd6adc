"""Exchange of models with other programs: export to, and import from, the formats of others."""
