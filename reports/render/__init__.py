"""The view model as HTML and PDF, and its figures as SVG."""
