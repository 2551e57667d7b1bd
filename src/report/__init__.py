"""What people look at: charts and the report page."""
