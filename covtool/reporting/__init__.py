"""Pages about a subject: what is known of it becomes sections, tables, figures and pictures."""
