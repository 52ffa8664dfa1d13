"""What infra/validate.py checks, one module a kind of file. Each check yields findings and raises none."""
