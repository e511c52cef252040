"""From a request to a service: header rules, descriptions, service ids and the stores that keep them."""
