"""peers: the same sagas on DBOS and Restate, each in an environment of its own, where they can be installed."""
