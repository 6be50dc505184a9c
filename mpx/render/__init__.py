"""Everything that mpx shows to people. `text` alone needs no terminal library.

A function returns lines; `console.show` prints them. No text from a user, a log or a metric
reaches a terminal without `text.visible`.
"""
