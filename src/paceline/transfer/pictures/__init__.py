"""From folders of pictures to batches for a network.

``folder`` lists, ``decode`` reads one picture, ``pictures`` all of them, ``split`` sets some aside, ``sampler`` draws batches,
``augment`` varies them, ``inputs`` makes them a network's input. Listing, splitting and drawing need no torch.
"""
