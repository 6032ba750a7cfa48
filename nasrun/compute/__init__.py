"""Know the machine: device, memory, processes of one run, worker processes."""
