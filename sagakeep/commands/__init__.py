"""The commands for people: they talk to a running server by its HTTP API, and to nothing else.

    client     one server, asked over HTTP        screen     tables for a terminal, JSON for a pipe
    options    which server, and how to print     one module for each group of commands

What a command needs is imported when it runs, as for all commands.
"""
