"""Intercepts the requests of HTTP libraries, and answers them or lets them through as ``policy`` decides.

Begin with ``httpx_clients``, which patches httpx and httpx2. ``other_clients`` patches all others: aiohttp, urllib3
(requests, botocore), httplib2, ``http.client``. ``aiohttp_answers`` answers requests of aiohttp, and ``vcr_stubs`` the
rest, on the stubs of vcrpy and with the bodies that ``given_bodies`` reads. ``foreign_mocks`` recognises mocks of other
tools below a client. ``side_requests`` is the table of requests that libraries send by themselves.

Imported by ``activation``, ``policy``, ``web_sockets`` and ``server``.
"""
