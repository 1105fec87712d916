"""One page about several studies: the same heads on several data sets, their ranks and agreement.

`columns` reads the studies and matches heads, `measures` has the values that are ranked,
`agreement` compares rankings, `answers` says what was found, `page` writes it all.
"""
