"""What backs each performance claim in the README; each is run by one command."""
