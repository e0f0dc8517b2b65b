"""The store of many hosts: one PostgreSQL database holds what SQLite files and locks hold on one host.

Nothing here is imported before a URL says ``postgresql://``: psycopg is an extra.
"""
