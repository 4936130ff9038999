"""Built-in recipes, as TOML files."""
