"""What a run or a trace comes to: metrics, reports, step logs and their comparison."""
