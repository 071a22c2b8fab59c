"""The black box: real processes, real files, real kills; what is true is what the services' ledgers say.

    orders    sagas at random, and what each may come to
    deeds     what a service did: its ledger, which outlives every process
    wishes    what a client asked for and what it was told: its ledger
    judge     holds the final sagas, the deeds and the wishes against each other

A campaign breaks something real over and over and lets the judge look at what is left:
`python -m blackbox NAME --count N --seed S`.
"""
