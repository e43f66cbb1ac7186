"""An experiment as values: schema, registered names, overrides, validation, YAML."""
