"""Skills from an address: a repository of a forge, or an archive on any site."""
