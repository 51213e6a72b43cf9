"""Who may write what, among processes, hosts and objects: kernel locks, or leases."""
