"""Pictures and rankings of finished runs, made from their files alone."""
