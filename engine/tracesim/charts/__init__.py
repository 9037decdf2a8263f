"""Charts of a run: an HTML page and a trace for Perfetto, both made from a timeline of its steps."""
