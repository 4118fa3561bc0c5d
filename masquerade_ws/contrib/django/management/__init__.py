"""The management package that Django looks for in an app."""
