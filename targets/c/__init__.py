"""Target ``c``: portable C99 with a static memory plan."""
