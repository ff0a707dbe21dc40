"""Studies as data: study files, the plan that they expand to, and statistics over seeds."""
