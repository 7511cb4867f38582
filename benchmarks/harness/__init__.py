"""How it is measured: processes that take turns, drawn photos, figures and their files."""
