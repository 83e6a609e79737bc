"""Pages to read: formulas, prose and source as HTML that needs no network, no server and no script of others."""
