"""HTTP: what the API takes and answers."""
