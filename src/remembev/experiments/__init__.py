"""Several seeds: ``jobs.py`` trains and measures, ``seeds.py`` keeps results, ``standings.py`` compares them.

What is tried is said by who calls: ``remembev ablate`` and ``remembev compare``.
"""
