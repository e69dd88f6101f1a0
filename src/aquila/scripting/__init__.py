"""Scripts: answers written by hand, for requests of any provider.

Begin with ``script``, which decides which answer a request gets. ``replies`` has the methods by which answers are
written, ``conditions`` the conditions of ``when``. ``script_file`` reads scripts from YAML. ``shared_script`` lets the
other processes of a run use a script, over ``unguarded_connections``. ``conversation`` answers over a WebSocket. The
package knows wire forms and cassettes, but no HTTP clients.

Imported by everything below it in the plan of the house.
"""
