"""A person as the judge: two answers without names, and which is better."""
