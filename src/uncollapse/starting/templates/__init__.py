"""Templates of new remedies, one for each slot: a class, its head file and its tests.

They are ordinary files that are linted, typed and tested here. `uncollapse new` copies them into
place under the name of the new remedy.
"""
