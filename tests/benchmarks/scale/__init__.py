"""Parts of the benchmarks of whole scans: many fields without science, and processes that can be killed."""
