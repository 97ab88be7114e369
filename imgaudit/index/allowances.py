"""What is taken off the similarity of each view, so that all views are as seldom like a stranger as the whole picture.

A search with hundreds of views finds more pictures that are alike by chance, and a small part or a frame is alike more
often than the whole. The allowance of a group of views is the similarity that one in a thousand of its pairs of
unrelated pictures exceeds, the best view of the group taken, less the same for the whole picture, and at least 0.

Set with the pictures and transformations of `imgaudit benchmark copies` under seed 101, in both directions, on 24
pictures (`pixel`: 10) of which none is in its printed table.
"""

from collections.abc import Mapping

ALLOWANCES: Mapping[str, Mapping[str, float]] = {
    "detail": {
        "whole": 0.00,
        "bars": 0.06,
        "between bars": 0.03,
        "cell": 0.01,
        "content": 0.02,
        "crop 0.5": 0.00,
        "crop 0.6": 0.10,
        "crop 0.7": 0.00,
        "crop 0.8": 0.00,
        "crop 0.9": 0.04,
        "in a border": 0.21,
        "in a collage": 0.00,
        "inside 16": 0.03,
        "inside 20": 0.21,
        "inside 23": 0.03,
        "inside 26": 0.07,
        "inside 29": 0.04,
        "margin": 0.23,
        "mirror": 0.00,
        "strip": 0.00,
        "strip off": 0.00,
        "surrounded": 0.46,
        "tilted": 0.06,
        "turned": 0.00,
        "upright": 0.02,
    },
    "pixel": {
        "whole": 0.00,
        "bars": 0.00,
        "cell": 0.00,
        "content": 0.00,
        "crop 0.5": 0.03,
        "crop 0.6": 0.15,
        "crop 0.7": 0.02,
        "crop 0.8": 0.05,
        "crop 0.9": 0.00,
        "margin": 0.23,
        "mirror": 0.00,
        "strip": 0.00,
        "surrounded": 0.25,
        "tilted": 0.10,
        "turned": 0.00,
        "upright": 0.03,
    },
}
"""By descriptor and group. Descriptors that are not here are searched with the whole picture only."""
