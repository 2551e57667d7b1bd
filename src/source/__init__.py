"""Where the photographs come from: archives, the network, or the sample drawn here."""
