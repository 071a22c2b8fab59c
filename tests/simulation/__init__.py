"""The campaign: the real orchestrator in many simulated worlds, and 27 invariants that hold in each of them.

configuration   what a seed stands for: sagas, services, weather, crashes, faults, operators
client          who creates sagas, and sends wishes until they are answered
durable         what the journal has durably promised, read past the product
judge           is told of everything; stops the world at the first broken invariant
invariants      I1 to I27, a function each
campaign        runs one configuration, life after life
modes           which configurations: random, exhaustive, faults, twice, corpus

PYTHONPATH=tests python -m simulation random --seeds 0:2000
"""
