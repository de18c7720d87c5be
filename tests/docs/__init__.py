"""The documents run: commands, programs, links, and the tables that repeat what the code says."""
