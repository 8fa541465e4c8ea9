"""Tables, figures and names that sections share."""
