"""Clients of language models: the engine in this process, and any server with the OpenAI API."""
