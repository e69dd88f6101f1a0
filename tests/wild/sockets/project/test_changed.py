"""The same programs with another prompt, from the same cassettes."""

from ways import OTHER_PROMPT, WAYS, each_way, go


@each_way(ways=[way for way in WAYS if "refused" not in way])  # they say nothing
def test_changed(way):
    go(way, OTHER_PROMPT)
