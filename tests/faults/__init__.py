"""Tests that inject faults for real: damaged files, killed processes, full disks."""
