"""Audits of published claims."""

from geomprobe.predict_reconstruct.published import Finding, audit_published, read_published

__all__ = ["Finding", "audit_published", "read_published"]
