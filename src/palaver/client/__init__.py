"""The other side of each wire: shells that mirror ``palaver.server``."""
