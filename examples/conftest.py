"""The examples are projects of their own, with settings and cassettes of their own: each is tested in its folder."""

collect_ignore_glob = ["*/*"]
