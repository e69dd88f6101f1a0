"""The page of a run: one HTML file with everything in it, which works wherever it is opened.

``render_page(report)`` returns it. ``rendering`` puts it together, ``embedding`` says how data, scripts and styles
stand in a page that may load nothing, ``overview`` what is summed up beforehand. The folder ``parts`` has the template,
the styles and the scripts. The browser draws what somebody opens: each test and each long text is a data block of its
own, which is parsed when it is needed.

A page of another kind can show the same components. How requests differ is drawn by ``drift.js`` and ``drift.css``,
which need ``elements.js`` and ``base.css``, and nothing else::

    style = read_parts("base.css", "drift.css")
    script = join_scripts("elements.js", "drift.js", more=MY_SCRIPT)

``join_scripts`` puts its parts into one function, so the script that is given as ``more`` calls theirs by name:
``drawDrift(drift, readText)`` returns an element for a ``Drift`` of the schema; ``readText(text)`` gives the string of
a ``Text``. ``drawWords(pieces)`` draws a list of ``[kind, text]`` as ``word_changes`` returns it. In Python,
``add_words(drift, read)`` of ``drift_words`` puts these changes into a drift beforehand; where they are missing, old
and new stand below each other. ``policy_for(script, style)`` is the Content-Security-Policy under which exactly these
run, and ``write_json`` writes data for a script element. Colours are CSS variables of ``base.css``; the classes of the
component begin with ``drift`` and ``words``.

Begin with ``rendering``. Imported by ``server`` and ``pytest_aquila``.
"""

from aquila.run_report.page.drift_words import add_words
from aquila.run_report.page.embedding import join_scripts, policy_for, read_parts, write_json
from aquila.run_report.page.rendering import render_page

__all__ = ["add_words", "join_scripts", "policy_for", "read_parts", "render_page", "write_json"]
