"""What tests of agents, stores and shells are made of; shipped, so that yours can use it, too."""
