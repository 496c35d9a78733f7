"""One file a vendor: the only places where a vendor's SDK is imported."""
