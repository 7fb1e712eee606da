"""How an autoencoder learns to give back what it sees."""
