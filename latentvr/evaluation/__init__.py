"""Answer extraction, figures with intervals, attention maps and the report."""
