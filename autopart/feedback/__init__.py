"""What was executed, beside what was simulated."""
