"""The report of a run: what `duoreid report` gathers, measures and lays out as one HTML file."""
