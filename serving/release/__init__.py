"""The release that the service follows, and the arm that answers a request."""
