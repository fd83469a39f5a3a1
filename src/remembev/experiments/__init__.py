"""Trainings that are compared: variants trained alike over several seeds, scored, and judged against the spread.

``compare.py`` says what is done, ``training_job.py`` and ``jobs.py`` do it in processes, ``results.py`` reads it back.
``measures.py``, ``verdict.py`` and ``claims.py`` judge it, ``tables.py`` and ``report/`` show it.
"""
