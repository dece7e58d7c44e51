"""The HTML of an evaluation: its page, its curves, its pictures."""
