"""Which recording answers a request, and what is said when none does.

Begin with ``request_key``: how requests are compared (JSON, forms, multipart, queries), by ``match_rules``.
``fresh_value_placeholders`` puts placeholders in place of what ``fresh_values`` says is new in every run.
``difference`` lists where two requests differ, ``nearest_recording`` finds the one to compare with, ``miss_message``
writes the text of a miss, and ``cures`` finds the settings that would make a request match. ``provider_ids`` knows
where requests name ids that a provider looks up, and ``linked_recordings`` which recordings belong together because of
them.
"""
