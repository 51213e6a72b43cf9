"""What stands in manifests and files that would spoil an experiment."""
