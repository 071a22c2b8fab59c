"""sagakeep: a saga orchestrator in one process and one directory."""
