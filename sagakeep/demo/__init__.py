"""Three services with a real ledger, so that a first saga works without any other program."""
