"""What every room needs: files, provenance, memory."""
