"""Looking at candidates and grading them: grades on disk, how far they can be trusted, the page that gathers them."""
