"""What a part needs to live in a process of its own.

The parent keeps a ``supervisor.Supervisor``, the child opens ``child.Child.connect()``; both speak ``frames``.
"""
