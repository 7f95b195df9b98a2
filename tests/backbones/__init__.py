"""A backbone that is not residual, known to the tests alone: its half in core, and one in each backend."""
