"""Rehearse a run: each phase once, all mistakes in one message, a forecast of time and memory."""
