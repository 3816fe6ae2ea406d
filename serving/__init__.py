"""The online service: the model it holds, the release it obeys, the predictions it records."""
