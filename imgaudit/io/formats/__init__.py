"""Structure of the containers that pictures come in: what a file says about its picture beside the pixels."""
