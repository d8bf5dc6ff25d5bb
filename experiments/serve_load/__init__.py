"""Does `strands-diffusers serve` hold: same actions, little added time, and nothing lost under load?"""
