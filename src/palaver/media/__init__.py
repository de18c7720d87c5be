"""The media server's side: what brings sound from elsewhere into ASP calls."""
