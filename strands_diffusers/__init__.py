"""strands_diffusers"""
