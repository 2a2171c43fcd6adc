"""Tests of the course in docs/learn and of the site."""
