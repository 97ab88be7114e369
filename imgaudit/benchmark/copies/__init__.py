"""How many copies each measure finds after what people do to pictures, and how many strangers it takes for copies."""
