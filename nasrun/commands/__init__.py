"""Adapt each command to the parts that do its work, one short file per verb."""
