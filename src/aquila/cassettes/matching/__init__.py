"""Which recording answers a request, and what is said when none does.

Begin with ``request_key``: what of a request is compared, and how (JSON, forms, multipart, queries). ``difference``
lists where two requests differ, ``nearest_recording`` finds the one to compare with, ``miss_message`` writes the text
of a miss.
"""
