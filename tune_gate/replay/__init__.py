"""Replay: a search run again in virtual time, over learning curves that were recorded once."""
