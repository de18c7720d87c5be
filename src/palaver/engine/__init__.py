"""Agents, tasks that run, and readers that follow them. Knows no wire."""
