"""A report for people: its figures as tables, its pictures, its galleries of photos."""
