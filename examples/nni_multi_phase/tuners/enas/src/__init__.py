"""The controller's package. The trials have another of this name: neither may see the other's."""
