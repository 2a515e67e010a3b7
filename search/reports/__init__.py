"""What people see: pages, tables, figures, documents."""
