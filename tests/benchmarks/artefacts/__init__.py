"""How well the finders of artefacts do, against truth that they are not shown."""
