"""flannel as the lab has it: flanneld, its CNI plugin with host-local addresses, and its objects in the API."""
