"""The recipe: one strict YAML file."""
