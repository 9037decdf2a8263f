"""What people see: tables, summaries and differences as text for a terminal."""
