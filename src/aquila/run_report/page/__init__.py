"""The page of a run: one HTML file with everything in it, which works wherever it is opened.

``render_page(report)`` returns the page. ``rendering`` renders it, ``embedding`` embeds data, scripts and styles in a
page that may load nothing, and ``overview`` computes the sums. The folder ``parts`` has the template, the styles and
the scripts. The browser draws only what the reader opens: each test and each long text is a data block of its own,
which is parsed when it is needed.

Another page can show the same components. ``drift.js`` and ``drift.css`` draw how requests differ; they need
``elements.js`` and ``base.css``, and nothing else::

    style = read_parts("base.css", "drift.css")
    script = join_scripts("elements.js", "drift.js", more=MY_SCRIPT)

``join_scripts`` puts its parts into one function, so the script ``more`` can call the functions of the parts:

- ``drawDrift(drift, readText)`` returns an element for a ``Drift`` of the schema. ``readText(text)`` returns the string
  of a ``Text``.
- ``drawWords(pieces)`` draws a list of ``[kind, text]``, which ``word_changes`` returns.

In Python, ``add_words(drift, read)`` of ``drift_words`` adds these changes to a drift; without them the page shows the
old text above the new one. ``policy_for(script, style)`` returns the Content-Security-Policy that allows exactly this
script and style, and ``write_json`` writes data for a script element. Colours are CSS variables of ``base.css``; the
classes of the component begin with ``drift`` and ``words``.

Begin with ``rendering``. Imported by ``server`` and ``pytest_aquila``.
"""

from aquila.run_report.page.drift_words import add_words
from aquila.run_report.page.embedding import join_scripts, policy_for, read_parts, write_json
from aquila.run_report.page.rendering import render_page

__all__ = ["add_words", "join_scripts", "policy_for", "read_parts", "render_page", "write_json"]
