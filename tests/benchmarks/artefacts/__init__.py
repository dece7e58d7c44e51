"""How much of each class of artefact the finders of `pipeline.scan.masks` flag, part by part."""
