"""Where cold bodies lie."""
