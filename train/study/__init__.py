"""Many runs compared, from one declared file."""
