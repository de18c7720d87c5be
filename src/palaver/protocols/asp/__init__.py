"""ASP, the Audio Session Protocol: what audio and which voice detection a call runs with."""
