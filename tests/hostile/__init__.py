"""
Requests and answers that could be understood in two ways, in families of tables, and a strict judge of what becomes of them.
"""
