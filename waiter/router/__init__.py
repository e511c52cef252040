"""The data path: from the client's connection to an instance's and back."""
