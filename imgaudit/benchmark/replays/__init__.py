"""How far pictures are apart that the same model generates from the same seeds in other circumstances."""
