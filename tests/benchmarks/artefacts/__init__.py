"""What the artefact benchmark is made of; `bench_artefacts.py` beside this folder runs all of it."""
