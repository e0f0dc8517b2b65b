"""Sealed model artifacts: encrypted, signed, and checkable by other people's tools."""

from __future__ import annotations
