"""The page of a run: one HTML file with everything in it, which works wherever it is opened.

``render_page(report)`` returns the page. ``rendering`` renders it, ``embedding`` embeds data, scripts and styles in a
page that may load nothing, and ``overview`` computes the sums. The folder ``parts`` has the template, the styles and
the scripts. The browser draws only what the reader opens: each test and each long text is a data block of its own,
which is parsed when it is needed.

Another page can show the same components, as that of a review does: ``join_scripts("elements.js", "drift.js",
more=MY_SCRIPT)`` puts its parts into one function, so ``MY_SCRIPT`` can call ``drawWords(pieces)``, which draws the
list of ``[kind, text]`` that ``word_changes`` returns. The style is ``read_parts("base.css", "drift.css")``, and
``policy_for(script, style)`` returns the Content-Security-Policy that allows exactly these two.

Begin with ``rendering``. Imported by ``report_files``, ``server`` and ``cli``.
"""

from aquila.run_report.page.embedding import join_scripts, policy_for, read_parts, write_json
from aquila.run_report.page.rendering import render_page

__all__ = ["join_scripts", "policy_for", "read_parts", "render_page", "write_json"]
