"""The engine's own scheduler and policies in virtual time: what a device would do, without the device.

``published`` holds step times from the literature, ``traces`` what drafts were accepted, ``proposers`` and ``virtual`` make an
engine of them, ``runs`` drives it at a constant batch or as requests arrive, ``capacity`` asks how many requests per second
meet an SLO, ``oracle`` is the policy that knows the future.
"""
