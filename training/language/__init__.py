"""Makes the small language models that the package ships: tokenizer, target and draft.

`python -m training.language --help` says how.
"""
