"""All that a fork replaces: the data, the label, the features, the model, its costs and limits.

The shipped use case: two hours before its scheduled departure, will a flight from New York be
disrupted (15 or more minutes late, cancelled or diverted)? See CONTRIBUTING.md for the contract.
"""
