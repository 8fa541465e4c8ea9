"""The view model: its types, ids, formats of numbers and text, its JSON schema."""
