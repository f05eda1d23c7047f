"""Stacks embedded in other tools."""
