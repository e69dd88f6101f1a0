"""
>>> from app import ask
>>> ask("doctest of a module")
'about doctest of a module'
"""


def documented():
    """
    >>> from app import ask
    >>> ask("doctest of a function")
    'about doctest of a function'
    """
