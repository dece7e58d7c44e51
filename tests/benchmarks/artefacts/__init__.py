"""What artefacts, gaps and edges do to what is found."""
