"""What the algorithms of core are measured against: published packages, and published algorithms written out."""
