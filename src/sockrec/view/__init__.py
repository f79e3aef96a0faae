"""The terminal view: the sockets of a capture at any moment, by keys; needs `pip install 'sockrec[view]'`."""
