"""Which recording answers a request, and what is said when none does.

Begin with ``request_key``: how requests are compared (JSON, forms, multipart, queries), by ``match_rules``
(``match_on``). ``canonical_json`` compares JSON by value, without the paths of ``json_path`` (``aquila_ignore``), and
``uploaded_file`` is what is compared of a file. ``fresh_value_placeholders`` puts placeholders in place of what
``fresh_values`` says is new in every run (``aquila_normalize``), by the patterns of a user that ``pattern_check`` lets
pass. ``difference`` lists where two requests differ, ``nearest_recording`` finds the one to compare with,
``miss_message`` writes the text of a miss, with the bodies as ``body_lines``, ``cures`` finds the settings that would
make a request match, ``reordered`` says whether only an order differs, ``changing_numbers`` whether only numbers in
texts do, and ``missing_secrets`` whether a secret is not there any more. ``provider_ids`` knows where
requests name ids that a provider looks up, and ``linked_recordings`` which recordings belong together because of them.

Imported by ``storage``, ``web_socket_frames`` and everything below ``cassettes``.
"""
