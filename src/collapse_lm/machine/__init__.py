"""What this machine can do: device and precision, memory, the doctor."""
