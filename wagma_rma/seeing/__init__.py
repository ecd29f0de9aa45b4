"""What ranks are seen to do: tables, pages for other programs, traces, metrics and plans.

``rows`` reads what ranks tell of their pace (protocol/row.pyx), ``ranks`` makes a table of it and finds who
is slow, ``pages`` holds it where other programs of the host find it, and ``live`` shows it there. All of it
looks at a run from outside: nothing here takes part in one.
"""
