"""The sample projects are suites of their own: they are copied and run, and not collected here."""

collect_ignore = ["sample_project", "cassetter_project"]
