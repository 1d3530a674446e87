"""Speculative decoding under load: does it pay, and does it ever cost?"""
