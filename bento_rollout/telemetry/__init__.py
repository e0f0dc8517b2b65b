"""Turns facts into log lines (and, with later versions, spans and metrics): one file for each backend."""
