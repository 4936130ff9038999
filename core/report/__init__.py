"""The report of a bundle: ``report.html`` and what it is rendered from."""
