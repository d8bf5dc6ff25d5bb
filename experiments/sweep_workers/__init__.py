"""Do two workers do twice the jobs of one?"""
