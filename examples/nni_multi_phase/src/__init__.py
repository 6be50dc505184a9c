"""The trials' package. The controller has another of this name: neither may see the other's."""
