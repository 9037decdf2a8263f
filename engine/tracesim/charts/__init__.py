"""Charts of a run: a page for a browser and a trace for Perfetto, both drawn from its timeline."""
