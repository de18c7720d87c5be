"""Engines and vendors behind one interface each: speech to text, text to speech, chat."""
